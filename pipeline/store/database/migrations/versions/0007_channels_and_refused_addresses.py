"""Messages for notification channels, and refused addresses that somebody has seen."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('messages', sa.Column('channel', sa.Text(), server_default='', nullable=False))
    op.add_column('recipients', sa.Column('seen_at', sa.BigInteger(), nullable=True))
