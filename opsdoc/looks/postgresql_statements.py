"""The statements that ask a PostgreSQL server of replication, from version 10 on, and which nobody waits for.

Columns that are newer are taken out of the row as a whole, where they are there. Of `primary_conninfo` only the address
and the name that it gives leave the server: it holds the password as it is.
"""

from __future__ import annotations

from opsdoc.clients.sql import Statement

SIDE = Statement(
    "replication",
    r"""
with told as (
  select name, setting from pg_settings where name in (
    'cluster_name', 'port', 'primary_conninfo', 'primary_slot_name', 'recovery_min_apply_delay', 'restore_command',
    'wal_receiver_status_interval', 'wal_receiver_timeout', 'wal_sender_timeout')
), link as (
  select regexp_replace(setting, 'password\s*=\s*(''([^''\\]|\\.)*''|\S+)', '', 'gi') as words
  from told where name = 'primary_conninfo'
)
select pg_is_in_recovery() as standby,
  (select system_identifier::text from pg_control_system()) as system,
  extract(epoch from pg_postmaster_start_time())::float8 as started,
  pg_backend_pid() as pid,
  extract(epoch from clock_timestamp())::float8 as now,
  case when not pg_is_in_recovery() then pg_current_wal_lsn() end::text as written,
  case when pg_is_in_recovery() then pg_last_wal_receive_lsn() end::text as received,
  case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end::text as replayed,
  case when pg_is_in_recovery() then pg_is_wal_replay_paused() end as paused,
  extract(epoch from case when pg_is_in_recovery() then pg_last_xact_replay_timestamp() end)::float8 as last_commit,
  (select sum(conflicts)::int8 from pg_stat_database) as conflicts,
  (select jsonb_object_agg(name, setting) from told where name not in ('primary_conninfo', 'restore_command'))
    as settings,
  (select coalesce(setting, '') <> '' from told where name = 'restore_command') as archive,
  (select coalesce(words, '') <> '' from link) as follows,
  (select substring(words from '(?:^|\s)application_name\s*=\s*''?([^\s'']+)') from link) as application,
  (select substring(words from '(?:^|\s)host\s*=\s*''?([^\s'',]+)') from link) as host,
  (select substring(words from '(?:^|\s)port\s*=\s*''?(\d+)') from link) as port,
  (select substring(words from
    '^postgres(?:ql)?://(?:[^@/]*@)?((?:\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::\d+)?)(?:[/?,]|$)') from link) as url,
  (select to_jsonb(r) - 'conninfo' || jsonb_build_object(
      'heard', extract(epoch from clock_timestamp() - r.last_msg_receipt_time)::float8,
      'started', (select extract(epoch from clock_timestamp() - a.backend_start)::float8
        from pg_stat_activity a where a.pid = r.pid))
    from pg_stat_wal_receiver r) as receiver,
  (select jsonb_build_object(
      'type', a.wait_event_type, 'event', a.wait_event,
      'blocker', (
        select jsonb_build_object('pid', b.pid, 'user', b.usename, 'application', b.application_name,
          'open', extract(epoch from clock_timestamp() - b.xact_start)::float8)
        from pg_stat_activity b where case
          when a.wait_event_type = 'Lock' then b.pid = any (pg_blocking_pids(a.pid))
          when a.wait_event like 'RecoveryConflict%' then b.backend_xmin is not null
          else false end
        order by b.xact_start limit 1))
    from pg_stat_activity a where a.backend_type = 'startup') as applier
""",
)

REPLICAS = Statement(
    "replicas",
    """
select r.pid, r.application_name as application, host(r.client_addr) as address, r.client_port as port, r.state,
  r.sync_state as sync,
  case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_lsn() end::text as written,
  r.sent_lsn::text as sent, r.write_lsn::text as write, r.flush_lsn::text as flush, r.replay_lsn::text as replay,
  extract(epoch from r.write_lag)::float8 as write_lag, extract(epoch from r.flush_lag)::float8 as flush_lag,
  extract(epoch from r.replay_lag)::float8 as replay_lag,
  extract(epoch from clock_timestamp() - (to_jsonb(r) ->> 'reply_time')::timestamptz)::float8 as heard,
  s.slot_name as slot
from pg_stat_replication r left join pg_replication_slots s on s.active_pid = r.pid
where coalesce(r.application_name, '') not in ('pg_basebackup', 'pg_receivewal') and r.state is distinct from 'backup'
order by r.backend_start limit 200
""",
)

SLOTS = Statement(
    "slots",
    """
select s.slot_name as slot, s.slot_type as type, s.active,
  case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
    else pg_current_wal_lsn() end::text as written,
  s.restart_lsn::text as restart, to_jsonb(s) ->> 'wal_status' as status,
  (to_jsonb(s) ->> 'safe_wal_size')::int8 as safe
from pg_replication_slots s where not s.temporary order by s.slot_name limit 200
""",
)

FIRST = (SIDE, REPLICAS)
LAST = (SIDE, REPLICAS, SLOTS)
