"""Pauses with an end and a reason, and muted digests."""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None
works_with = '0008'

_INSTANT = sa.BigInteger()


def upgrade() -> None:
    op.add_column('paused', sa.Column('until', _INSTANT, nullable=True))
    op.add_column('paused', sa.Column('reason', sa.Text(), server_default='', nullable=False))
    op.create_table(
        'digest_mutes',
        sa.Column('name', sa.String(64), nullable=False),
        sa.Column('until', _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint('name', name=op.f('pk_digest_mutes')))
