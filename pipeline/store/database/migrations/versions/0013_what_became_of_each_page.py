"""What became of each fetched page: its outcome, the error, how long the server took, and how many items were new or changed."""

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None
works_with = '0008'

_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('pages', sa.Column('outcome', sa.String(12), server_default='fetched', nullable=False))
    op.add_column('pages', sa.Column('error', sa.Text(), server_default='', nullable=False))
    op.add_column('pages', sa.Column('duration_ms', sa.Integer(), nullable=True))
    op.add_column('pages', sa.Column('changes', _ID, server_default='0', nullable=False))
    failed = sa.text("error != ''")
    op.create_index('ix_pages_failed', 'pages', ['run_id'], sqlite_where=failed, postgresql_where=failed)
