"""pg_stat_statements, wherever it is, and what sessions of ours cost a PostgreSQL server by it."""

from __future__ import annotations

OURS = "/* opsdoc */ "  # before each statement, so that whoever sees one knows whose it is
UNCOUNTED = 2  # statements that are not between two looks at it: the one before the first, and the one that looks last

# Its schema is not known before: only a statement in a statement reaches it, and what that says comes as XML. Where the
# extension is not there, there is no row. The function is asked and not the view, which somebody may have locked.
_REACHED = """
select replace(replace(replace(
    (xpath('//j/text()', query_to_xml(format('
      select (SELECT) as j
    ', n.nspname, t.attname,
      case t.attname when 'total_exec_time' then 'total_exec_time + total_plan_time' else 'total_time' end
    ), true, false, '')))[1]::text,
    '&lt;', '<'), '&gt;', '>'), '&amp;', '&')::json as told
from pg_extension e
join pg_namespace n on n.oid = e.extnamespace
join pg_class c on c.relnamespace = n.oid and c.relname = 'pg_stat_statements'
join pg_attribute t on t.attrelid = c.oid and t.attname in ('total_exec_time', 'total_time')
where e.extname = 'pg_stat_statements'
"""

# Calls and milliseconds, of planning, too, where that is tracked, of all that opsdoc ever said as our role.
# The comment of whoever says a statement first is kept.
_OURS_IN = """
select json_build_array(coalesce(sum(calls), 0), coalesce(sum(%3$s), 0)) from SOURCE
where userid = (select oid from pg_roles where rolname = current_user) and query like ''/* opsdoc */%%''
"""


def reached(select: str) -> str:
    """The statement whose column `told` is the one JSON value of a `select`; its quotation marks are written twice.

    In it, as `format` has them, stand its schema, `%1$I`, and the columns of the time of execution, `%2$I`, and of all
    that is measured of a statement, `%3$s`.
    """
    return _REACHED.replace("SELECT", select)


def ours_in(source: str) -> str:
    """The `select` of what ours came to in the rows of `source`."""
    return _OURS_IN.replace("SOURCE", source)


SPENT = reached(ours_in("%1$I.pg_stat_statements(true)"))
