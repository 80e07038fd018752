"""The statements that ask a PostgreSQL server what holds it, from version 10 on: catalogs only, which nobody locks.

What a statement's text tells of the values in it is masked by the client where its column is called `query`. Columns
that are newer are taken out of the row as a whole, where they are there.
"""

from __future__ import annotations

from opsdoc.clients.postgresql_spent import ours_in, reached
from opsdoc.clients.sql import Statement

MOST_COUNTED = 5000  # statements: pg_stat_statements.max, unless told otherwise

NODE = Statement(
    "node",
    """
with seen as (
  select state, wait_event_type as type, wait_event as event, query_start from pg_stat_activity
  where datid is not null and pid <> pg_backend_pid() and coalesce(backend_type, 'client backend') = 'client backend'
)
select pg_is_in_recovery() as standby,
  current_setting('max_connections')::int4 as max_connections,
  current_setting('superuser_reserved_connections')::int4
    + coalesce(current_setting('reserved_connections', true)::int4, 0) as reserved,
  extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8 as uptime,
  (select count(*)::int4 from seen) as connections,
  (select count(*)::int4 from seen where state = 'active') as active,
  (select count(*)::int4 from seen where state like 'idle in transaction%') as idle_in_transaction,
  (select count(*)::int4 from seen where type = 'Lock') as waiting,
  (select count(*)::int4 from seen where event = 'SyncRep') as commit_waits,
  (select max(extract(epoch from clock_timestamp() - query_start))::float8 from seen where event = 'SyncRep')
    as commit_wait_seconds,
  nullif(current_setting('synchronous_standby_names'), '') as commit_waits_for,
  (select count(*)::int4 from pg_stat_replication where state is distinct from 'backup') as replicas,
  (select sum(deadlocks)::int8 from pg_stat_database) as deadlocks,
  (select max(age(datfrozenxid))::int8 from pg_database) as xid_age,
  pg_has_role('pg_read_all_stats', 'usage') as sees_all,
  quote_ident(current_user) as role
""",
)

CLIENTS = Statement(
    "clients",
    """
select usename::text as user, application_name as application, state, count(*)::int4 as connections
from pg_stat_activity
where datid is not null and pid <> pg_backend_pid() and coalesce(backend_type, 'client backend') = 'client backend'
group by 1, 2, 3 order by 4 desc limit 50
""",
)

# pg_blocking_pids takes the lock manager for itself for a moment: it is asked for those that wait, and not for all of
# them. pg_locks is not read where nobody waits: `exists` goes first.
WAITS = Statement(
    "waits",
    """
with waiting as (
  select pid, pg_blocking_pids(pid) as blockers from (
    select pid from pg_stat_activity where wait_event_type = 'Lock' and pid <> pg_backend_pid()
    order by query_start limit 100) as first
), member as (
  select pid from waiting union select unnest(blockers) from waiting
), lock as (
  select l.pid, l.granted, l.locktype, l.mode, l.transactionid::text as xid, l.relation,
    case when l.database in (0, (select oid from pg_database where datname = current_database()))
      then l.relation::regclass::text else 'relation ' || l.relation || ' of database ' || l.database end as name,
    (to_jsonb(l) ->> 'waitstart')::timestamptz as since
  from pg_locks l where exists (select from waiting) and (not l.granted or l.locktype = 'tuple')
)
select m.pid, w.blockers, a.usename::text as user, a.application_name as application, a.state, a.backend_type as kind,
  a.datname::text as database, a.query,
  extract(epoch from clock_timestamp() - a.xact_start)::float8 as open,
  case when w.pid is not null then
    extract(epoch from clock_timestamp() - coalesce(want.since, a.query_start))::float8 end as waits,
  want.locktype, want.mode, want.xid, want.relation::int8 as relation, coalesce(want.name, tuple.name) as object
from member m
left join waiting w on w.pid = m.pid
left join pg_stat_activity a on a.pid = m.pid
left join lateral (select * from lock where lock.pid = m.pid and not lock.granted limit 1) want on true
left join lateral (select * from lock where lock.pid = m.pid and lock.locktype = 'tuple' limit 1) tuple on true
order by a.query_start limit 500
""",
)

TRANSACTIONS = Statement(
    "transactions",
    """
with opened as (
  select * from pg_stat_activity
  where xact_start is not null and pid <> pg_backend_pid() and backend_type = 'client backend'
    and (state like 'idle in transaction%' or clock_timestamp() - xact_start > interval '5 s')
  order by xact_start limit 20
), lock as (
  select pid, count(*)::int4 as locks from pg_locks where exists (select from opened) and granted
  and pid in (select pid from opened) group by pid
)
select o.pid, o.usename::text as user, o.application_name as application, host(o.client_addr) as client, o.state,
  o.wait_event_type as waits, o.query, coalesce(l.locks, 0) as locks,
  extract(epoch from clock_timestamp() - o.xact_start)::float8 as open,
  case when o.state like 'idle in transaction%' then
    extract(epoch from clock_timestamp() - o.state_change)::float8 end as idle,
  greatest(age(o.backend_xid), age(o.backend_xmin))::int8 as holds_back
from opened o left join lock l on l.pid = o.pid order by o.xact_start
""",
)

# A prepared transaction has no process: in pg_locks its locks stand under the virtual transaction that has its id.
PREPARED = Statement(
    "prepared",
    """
with prepared as (select * from pg_prepared_xacts order by prepared limit 50), lock as (
  select l.virtualtransaction as virtual, l.transactionid::text as xid, l.mode, l.relation,
    case when l.database in (0, (select oid from pg_database where datname = current_database()))
      then l.relation::regclass::text else 'relation ' || l.relation || ' of database ' || l.database end as name
  from pg_locks l where exists (select from prepared) and l.pid is null
), held as (
  select mine.xid, lock.mode, lock.relation, lock.name
  from lock mine join lock on lock.virtual = mine.virtual and lock.relation is not null where mine.xid is not null
)
select p.gid, quote_literal(p.gid) as quoted, p.owner::text as owner, p.database::text as database,
  p.transaction::text as xid, extract(epoch from clock_timestamp() - p.prepared)::float8 as age,
  age(p.transaction)::int8 as holds_back,
  (select coalesce(jsonb_agg(distinct name || ' (' || mode || ')'), '[]') from held h where h.xid = p.transaction::text)
    as locks,
  (select coalesce(jsonb_agg(distinct relation::int8), '[]') from held h where h.xid = p.transaction::text) as relations
from prepared p order by p.prepared
""",
)


# The numbers alone cost less than the texts. `took` is how long the statement itself ran, by the clock of the server.
_NUMBERS = "userid::int8, dbid::int8, queryid, calls, %2$I"
_COUNTED = """
select json_build_object(
  ''all'', (select sum(%2$I) from %1$I.pg_stat_statements(false)),
  ''rows'', (select json_agg(json_build_array(NUMBERS)) from (
    select * from %1$I.pg_stat_statements(false) order by %2$I desc limit MOST) as t))
"""
_HOT = """
with s as (select * from %1$I.pg_stat_statements(true))
select json_build_object(
  ''all'', (select sum(%2$I) from s),
  ''ours'', (OURS),
  ''rows'', (select json_agg(json_build_array(NUMBERS, json_build_object(''query'', left(query, 400)))) from (
    select * from s where queryid is not null and query not like ''/* opsdoc */%%'' order by %2$I desc limit 200
  ) as t),
  ''took'', extract(epoch from clock_timestamp() - statement_timestamp()))
"""

COUNTED = Statement(
    "statements before", reached(_COUNTED.replace("NUMBERS", _NUMBERS).replace("MOST", str(MOST_COUNTED)))
)
HOT = Statement("statements", reached(_HOT.replace("NUMBERS", _NUMBERS).replace("OURS", ours_in("s"))))

FIRST = (NODE, WAITS, COUNTED)
LAST = (NODE, WAITS, CLIENTS, TRANSACTIONS, PREPARED, HOT)
