-- Takes back what repeatable_triggers.sql put on the source table.

DROP TRIGGER IF EXISTS {trigger_insert} ON {source};
DROP TRIGGER IF EXISTS {trigger_update} ON {source};
DROP TRIGGER IF EXISTS {trigger_delete} ON {source};
DROP TRIGGER IF EXISTS {trigger_truncate} ON {source};
