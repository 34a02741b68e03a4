"""Sessions of browsers that have signed in to the pages."""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None
works_with = '0008'

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'console_sessions',
        sa.Column('id', _ID, nullable=False),
        sa.Column('id_hash', sa.String(64), nullable=False),
        sa.Column('token_hash', sa.String(64), nullable=False),
        sa.Column('token_name', sa.String(64), nullable=False),
        sa.Column('source', sa.String(120), nullable=False),
        sa.Column('created_at', _INSTANT, nullable=False),
        sa.Column('last_seen_at', _INSTANT, nullable=False),
        sa.Column('expires_at', _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_console_sessions')),
        sa.UniqueConstraint('id_hash', name=op.f('uq_console_sessions_id_hash')))
    op.create_index(op.f('ix_console_sessions_expires_at'), 'console_sessions', ['expires_at'])
