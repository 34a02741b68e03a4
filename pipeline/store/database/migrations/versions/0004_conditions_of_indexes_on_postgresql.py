"""Conditions of partial indexes on PostgreSQL, which databases created by earlier versions lack."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

PARTIAL = (
    ('uq_alerts_open', 'alerts', ['spider', 'kind'], True, 'over_at IS NULL'),
    ('ix_passes_open', 'passes', ['spider'], False, 'closed_at IS NULL'),
    ('ix_runs_at_work', 'runs', ['spider'], False, 'started_at IS NOT NULL AND ended_at IS NULL'),
    ('ix_runs_waiting', 'runs', ['id'], False, 'started_at IS NULL AND ended_at IS NULL'),
)


def upgrade() -> None:
    if op.get_bind().dialect.name != 'postgresql':
        return
    for name, table, columns, unique, where in PARTIAL:
        op.drop_index(name, table_name=table)
        op.create_index(name, table, columns, unique=unique, postgresql_where=sa.text(where))
