"""Requests to the API that are performed only once."""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None
works_with = '0008'

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'api_requests',
        sa.Column('id', _ID, nullable=False),
        sa.Column('token', sa.String(64), nullable=False),
        sa.Column('key_hash', sa.String(64), nullable=False),
        sa.Column('request_hash', sa.String(64), nullable=False),
        sa.Column('created_at', _INSTANT, nullable=False),
        sa.Column('status', sa.Integer(), nullable=True),
        sa.Column('headers', sa.JSON(none_as_null=True), nullable=True),
        sa.Column('body', sa.Text(), server_default='', nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_api_requests')),
        sa.UniqueConstraint('token', 'key_hash', name=op.f('uq_api_requests_token_key_hash')))
    op.create_index(op.f('ix_api_requests_created_at'), 'api_requests', ['created_at'])
