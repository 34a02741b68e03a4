"""Queues of runs, and the tables of services on several nodes."""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None
works_with = '0008'

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.add_column('runs', sa.Column('queue', sa.String(64), server_default='default', nullable=False))
    op.add_column('runs', sa.Column('stop_requested_at', _INSTANT, nullable=True))
    op.add_column('frontier', sa.Column('member_id', _ID, nullable=True))
    held = sa.text('member_id IS NOT NULL')
    op.create_index('ix_frontier_held', 'frontier', ['member_id'], sqlite_where=held, postgresql_where=held)
    op.create_table(
        'nodes',
        sa.Column('owner', sa.String(120), nullable=False),
        sa.Column('name', sa.String(120), nullable=False),
        sa.Column('version', sa.String(40), nullable=False),
        sa.Column('schema', sa.String(32), nullable=False),
        sa.Column('started_at', _INSTANT, nullable=False),
        sa.Column('seen_at', _INSTANT, nullable=False),
        sa.Column('roles', sa.JSON(), server_default='[]', nullable=False),
        sa.Column('queues', sa.JSON(), server_default='[]', nullable=False),
        sa.Column('concurrency', sa.Integer(), server_default='0', nullable=False),
        sa.Column('running', sa.Integer(), server_default='0', nullable=False),
        sa.Column('load', sa.Float(), server_default='0', nullable=False),
        sa.Column('clock_skew_s', sa.Float(), server_default='0', nullable=False),
        sa.Column('leader', sa.Boolean(), nullable=False),
        sa.Column('stopping', sa.Boolean(), nullable=False),
        sa.Column('settings', sa.String(16), server_default='', nullable=False),
        sa.PrimaryKeyConstraint('owner', name=op.f('pk_nodes')))
    op.create_table(
        'session_files',
        sa.Column('spider', sa.String(64), nullable=False),
        sa.Column('name', sa.String(40), nullable=False),
        sa.Column('content', sa.LargeBinary(), nullable=False),
        sa.Column('version', _ID, server_default='1', nullable=False),
        sa.Column('changed_at', _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint('spider', 'name', name=op.f('pk_session_files')))
    op.create_table(
        'host_turns',
        sa.Column('host', sa.String(320), nullable=False),
        sa.Column('free_at', _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint('host', name=op.f('pk_host_turns')))
    op.create_table(
        'host_permits',
        sa.Column('host', sa.String(320), nullable=False),
        sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('owner', sa.String(120), nullable=False),
        sa.Column('until', _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint('host', 'number', name=op.f('pk_host_permits')))
    op.create_index(op.f('ix_host_permits_until'), 'host_permits', ['until'])
    op.create_table(
        'host_waits',
        sa.Column('host', sa.String(320), nullable=False),
        sa.Column('owner', sa.String(120), nullable=False),
        sa.Column('since', _INSTANT, nullable=False),
        sa.Column('until', _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint('host', 'owner', name=op.f('pk_host_waits')))
    op.create_table(
        'run_members',
        sa.Column('id', _ID, nullable=False),
        sa.Column('run_id', _ID, nullable=False),
        sa.Column('joined_at', _INSTANT, nullable=False),
        sa.Column('ended_at', _INSTANT, nullable=True),
        sa.Column('report', sa.JSON(), server_default='{}', nullable=False),
        sa.Column('lease_owner', sa.String(120), server_default='', nullable=False),
        sa.Column('lease_until', _INSTANT, nullable=True),
        sa.Column('attempt', sa.Integer(), server_default='0', nullable=False),
        sa.ForeignKeyConstraint(['run_id'], ['runs.id'], name=op.f('fk_run_members_run_id')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_run_members')))
    op.create_index(op.f('ix_run_members_run_id'), 'run_members', ['run_id'])
    op.create_table(
        'schema_versions',
        sa.Column('revision', sa.String(32), nullable=False),
        sa.Column('works_with', sa.String(32), nullable=False),
        sa.Column('migrated_at', _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint('revision', name=op.f('pk_schema_versions')))
