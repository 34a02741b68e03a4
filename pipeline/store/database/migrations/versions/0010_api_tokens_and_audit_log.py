"""API tokens, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None
works_with = '0008'

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'api_tokens',
        sa.Column('id', _ID, nullable=False),
        sa.Column('name', sa.String(64), nullable=False),
        sa.Column('token_hash', sa.String(64), nullable=False),
        sa.Column('scope', sa.String(10), nullable=False),
        sa.Column('created_at', _INSTANT, nullable=False),
        sa.Column('last_used_at', _INSTANT, nullable=True),
        sa.Column('revoked_at', _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_api_tokens')),
        sa.UniqueConstraint('name', name=op.f('uq_api_tokens_name')),
        sa.UniqueConstraint('token_hash', name=op.f('uq_api_tokens_token_hash')))
    op.create_table(
        'audit_log',
        sa.Column('id', _ID, nullable=False),
        sa.Column('at', _INSTANT, nullable=False),
        sa.Column('who', sa.String(120), nullable=False),
        sa.Column('source', sa.String(120), nullable=False),
        sa.Column('action', sa.String(64), nullable=False),
        sa.Column('target', sa.Text(), server_default='', nullable=False),
        sa.Column('outcome', sa.Text(), server_default='', nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_log')))
    op.create_index(op.f('ix_audit_log_at'), 'audit_log', ['at'])
