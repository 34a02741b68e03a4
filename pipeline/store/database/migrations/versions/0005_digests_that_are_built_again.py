"""Why a digest is built again with less: a mail server refused one of its messages for its size or its content."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('digests', sa.Column('rebuild', sa.JSON(none_as_null=True), nullable=True))
    op.add_column('digests', sa.Column('rebuild_of', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True))
    op.add_column('messages', sa.Column('recipients_of', sa.Integer(), server_default='0', nullable=False))
