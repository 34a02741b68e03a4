"""What a language model was asked, and what it answered: requests, judgements of changes, summaries of digests."""

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None
works_with = '0008'

_INSTANT = sa.BigInteger()
_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table(
        'ai_requests',
        sa.Column('id', _ID, nullable=False),
        sa.Column('digest', sa.String(64), server_default='', nullable=False),
        sa.Column('purpose', sa.String(10), nullable=False),
        sa.Column('model', sa.Text(), nullable=False),
        sa.Column('state', sa.String(10), nullable=False),
        sa.Column('started_at', _INSTANT, nullable=False),
        sa.Column('ended_at', _INSTANT, nullable=True),
        sa.Column('input_tokens', _ID, server_default='0', nullable=False),
        sa.Column('output_tokens', _ID, server_default='0', nullable=False),
        sa.Column('error', sa.Text(), server_default='', nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_ai_requests')))
    op.create_index(op.f('ix_ai_requests_started_at'), 'ai_requests', ['started_at'])
    op.create_table(
        'judgements',
        sa.Column('id', _ID, nullable=False),
        sa.Column('digest', sa.String(64), nullable=False),
        sa.Column('question_hash', sa.String(64), nullable=False),
        sa.Column('change_id', _ID, nullable=False),
        sa.Column('content_hash', sa.String(64), nullable=False),
        sa.Column('told', sa.Boolean(), nullable=False),
        sa.Column('reason', sa.Text(), server_default='', nullable=False),
        sa.Column('judged_at', _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(['change_id'], ['changes.id'], name=op.f('fk_judgements_change_id'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_judgements')),
        sa.UniqueConstraint('digest', 'question_hash', 'change_id', 'content_hash',
                            name=op.f('uq_judgements_digest_question_hash_change_id_content_hash')))
    op.create_index(op.f('ix_judgements_change_id'), 'judgements', ['change_id'])
    op.create_index(op.f('ix_judgements_digest_told_id'), 'judgements', ['digest', 'told', 'id'])
    op.create_table(
        'model_summaries',
        sa.Column('digest_id', _ID, nullable=False, autoincrement=False),
        sa.Column('recipients_of', sa.Integer(), nullable=False, autoincrement=False),
        sa.Column('content', sa.JSON(), nullable=False),
        sa.Column('created_at', _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(['digest_id'], ['digests.id'], name=op.f('fk_model_summaries_digest_id'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('digest_id', 'recipients_of', name=op.f('pk_model_summaries')))
