"""Messages for notification channels, refused addresses that a person has seen, and digests that are sent again."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('messages', sa.Column('channel', sa.Text(), server_default='', nullable=False))
    op.add_column('recipients', sa.Column('seen_at', sa.BigInteger(), nullable=True))
    op.add_column('digests', sa.Column('again', sa.JSON(none_as_null=True), nullable=True))
    unseen = sa.text("state = 'refused' AND seen_at IS NULL")
    op.create_index('ix_recipients_refused', 'recipients', ['address'], sqlite_where=unseen, postgresql_where=unseen)
