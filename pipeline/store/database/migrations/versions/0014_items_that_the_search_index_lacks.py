"""Items that changed or were deleted since the search index of items has them, which triggers of SQLite note."""

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None
works_with = '0008'

_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
_TRIGGER = """CREATE TRIGGER note_{name}_items AFTER {event} ON items BEGIN INSERT INTO edited_items (item_id, edits) VALUES (OLD.id, 1)
              ON CONFLICT (item_id) DO UPDATE SET edits = edits + 1; END"""


def upgrade() -> None:
    op.create_table(
        'edited_items',
        sa.Column('item_id', _ID, nullable=False, autoincrement=False),
        sa.Column('edits', _ID, nullable=False),
        sa.PrimaryKeyConstraint('item_id', name=op.f('pk_edited_items')))
    if op.get_bind().dialect.name == 'sqlite':
        for name, event in (('edited', 'UPDATE OF data'), ('deleted', 'DELETE')):
            op.execute(_TRIGGER.format(name=name, event=event))
