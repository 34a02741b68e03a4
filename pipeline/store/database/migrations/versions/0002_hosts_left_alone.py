"""Hosts that are left alone until a time. From here on, long JSON of items and changes may be compressed on SQLite:
what is there stays as it is, and a program that cannot read the new form refuses the store.
"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('host_pauses',
    sa.Column('host', sa.String(length=320), nullable=False),
    sa.Column('until', sa.BigInteger(), nullable=False),
    sa.Column('spider', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('host', name=op.f('pk_host_pauses'))
    )
