"""Add the table of paused hosts.

From this migration on, long JSON of items and changes may be compressed on SQLite.
Existing JSON is not changed. An earlier version of the program, which cannot read compressed JSON, refuses the database.
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
