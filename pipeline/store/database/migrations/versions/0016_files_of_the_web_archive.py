"""The files of the web archive, and the page on which a change was found."""

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None
works_with = '0008'

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'archive_files',
        sa.Column('id', _ID, nullable=False),
        sa.Column('spider', sa.String(64), nullable=False),
        sa.Column('day', sa.String(10), nullable=False),
        sa.Column('state', sa.String(10), nullable=False),
        sa.Column('number', sa.Integer(), server_default='1', nullable=False),
        sa.Column('run_id', _ID, nullable=True),
        sa.Column('node', sa.Text(), server_default='', nullable=False),
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('index_key', sa.Text(), nullable=False),
        sa.Column('size_bytes', _ID, server_default='0', nullable=False),
        sa.Column('index_bytes', _ID, server_default='0', nullable=False),
        sa.Column('records', _ID, server_default='0', nullable=False),
        sa.Column('sha256', sa.String(64), nullable=False),
        sa.Column('oldest_day', sa.String(10), nullable=False),
        sa.Column('created_at', _INSTANT, nullable=False),
        sa.Column('timestamp_key', sa.Text(), server_default='', nullable=False),
        sa.Column('timestamped_at', _INSTANT, nullable=True),
        sa.Column('timestamp_error', sa.Text(), server_default='', nullable=False),
        sa.Column('timestamp_attempts', sa.Integer(), server_default='0', nullable=False),
        sa.Column('doomed_at', _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_archive_files')),
        sa.UniqueConstraint('key', name=op.f('uq_archive_files_key')))
    op.create_index(op.f('ix_archive_files_doomed_at'), 'archive_files', ['doomed_at'])
    op.create_index(op.f('ix_archive_files_spider_day'), 'archive_files', ['spider', 'day'])
    op.add_column('changes', sa.Column('page_url', sa.Text(), server_default='', nullable=False))
