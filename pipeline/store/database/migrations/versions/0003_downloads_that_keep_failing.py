"""In how many passes in a row a download failed for good."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('downloads', sa.Column('failed_passes', sa.Integer(), server_default='0', nullable=False))
