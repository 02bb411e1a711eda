-- The tables are the daemon's own and may change; the views at the end are promised to whoever asks with sqlite3.
-- Times are UTC text YYYY-MM-DD HH:MM:SS.SSS: they sort, and SQLite's date functions read them.

create table agent (
    number          integer primary key,       -- the lower 20 bits of the keys of its samples
    agent_id        text    not null unique,
    name            text,
    source          text    not null,
    registry_status text,
    first_seen      text    not null,
    last_seen       text    not null,
    metadata        text    not null,
    restarts        integer not null,
    cpu_us          integer not null,
    read_bytes      integer not null,
    written_bytes   integer not null
) strict;

-- One row a sampling pass, so that a moment is written once and not once for each agent. Clustered by time: a pass
-- dirties one page here, and the newest are at the end.
create table ticks (
    timestamp text    not null,
    tick      integer not null,                -- an ordinal that only grows, whatever the clock does
    samples   integer not null,                -- how many, so that deleting can be measured out beforehand
    primary key (timestamp, tick)
) strict, without rowid;

-- The key begins with the tick: a pass fills pages at the end instead of touching one for each agent, and the oldest
-- passes are a range. 0, 1 and null take no room beyond the row's header.
create table sample (
    key           integer primary key,         -- tick << 20 | agent number
    status        any     not null,            -- a number of sample_status, or the text of a rare one: rss:word
    cpu_tenths    integer,                     -- tenths of a percent of one core
    memory_kib    integer,
    process_count integer,
    thread_count  integer,
    cpu_ms        integer,
    read_bytes    integer,
    written_bytes integer,
    error_count   integer not null,
    message_count integer
) strict;

-- The reported status together with how memory was added up: there are few of them.
create table sample_status (
    id            integer primary key,
    memory_method text    not null,
    status        text    not null,
    unique (status, memory_method)
) strict;

-- Events, errors, and alerts that fired or ended, in one sequence that is never reused. Nothing is ever changed but
-- whether an error is resolved.
create table journal (
    id           integer primary key autoincrement,
    timestamp    text    not null,
    agent_number integer,                      -- null: the daemon's own
    kind         integer not null,             -- 0 event, 1 error, 2 alert fired, 3 alert ended
    type         text    not null,             -- event_type, error_type, the alert's rule
    message      text    not null,
    metadata     text,                         -- of events and errors; null: empty
    stack_trace  text,
    resolved     integer,                      -- of errors: 0 or 1
    severity     integer,                      -- of alerts, as these: 0 info, 1 warning, 2 critical
    value        real,
    threshold    real,
    fired        integer                       -- of an alert that ended: the entry with which it fired
) strict;
create index journal_by_time     on journal (timestamp);
create index journal_by_kind     on journal (kind);
create index journal_by_agent    on journal (agent_number, kind);
create index journal_unresolved  on journal (agent_number) where resolved = 0;
create index journal_alert_ended on journal (fired) where fired is not null;

create table run (
    id                 integer primary key,
    agent_number       integer not null,
    boot               text    not null,
    start_ticks        integer not null,
    pid                integer not null,
    started_at         text    not null,
    ended_at           text,
    exit_code          integer,
    exit_signal_number integer,
    exit_signal        text,
    oom_killed         integer,
    reason             text,
    cpu_us             integer not null,
    peak_memory_bytes  integer,
    last_memory_bytes  integer,
    root_own_us        integer not null,       -- with the next two, where a new daemon goes on counting
    root_children_us   integer not null,
    others_us          integer not null
) strict;
create unique index run_by_process on run (agent_number, start_ticks, pid, boot);
create index run_by_agent on run (agent_number);
create index run_by_end   on run (ended_at) where ended_at is not null;

create table leftover (
    id           integer primary key,
    agent_number integer not null,
    boot         text    not null,
    start_ticks  integer not null,
    pid          integer not null,
    command      text    not null,
    since        text    not null,
    memory_bytes integer not null,
    cpu_us       integer not null,
    used_before_us integer not null,           -- where a new daemon goes on counting
    ended_at     text
) strict;
create unique index leftover_by_process on leftover (agent_number, start_ticks, pid, boot);
create index leftover_by_end on leftover (ended_at) where ended_at is not null;

-- Alerts that are pending or firing.
create table alert_state (
    rule         text    not null,
    agent_number integer,                      -- null: the daemon's own
    firing       integer not null,
    since        text    not null,
    held_ms      integer,                      -- pending: for how long the condition was seen to hold
    notified_at  text,
    value        real,
    message      text,
    fired        integer                       -- firing: the entry of the journal with which it fired
) strict;
create unique index alert_state_by_key on alert_state (rule, ifnull(agent_number, -1));

-- One row: how far deleting has come.
create table retention (
    only          integer primary key check (only = 0),
    believed_at   text    not null,            -- the time, as far as deleting trusts the clock
    highest_tick  integer not null             -- the highest tick that was ever deleted
) strict;

create view agents as
    select agent_id, name, source, registry_status, first_seen, last_seen, metadata from agent;

-- The key is asked for in two ways. As a range: the newest rows of all agents are read from the end. As one value:
-- the rows of a known agent are found directly. The planner takes what the question allows.
create view agent_metrics as
    select a.agent_id,
           t.timestamp,
           s.cpu_tenths / 10.0 as cpu_percent,
           round(s.memory_kib / 1024.0, 1) as memory_mb,
           coalesce(w.memory_method, substr(s.status, 1, 3)) as memory_method,
           coalesce(w.status, substr(s.status, 5)) as status,
           s.error_count,
           s.message_count,
           s.process_count,
           s.thread_count,
           s.cpu_ms / 1000.0 as cpu_seconds,
           s.read_bytes,
           s.written_bytes
      from ticks t, sample s, agent a
      left join sample_status w on typeof(s.status) = 'integer' and w.id = s.status
     where s.key between t.tick << 20 and (t.tick << 20) + 1048575
       and s.key = (t.tick << 20) + a.number
       and a.number = (s.key & 1048575);

create view agent_events as
    select j.id, a.agent_id, j.type as event_type, j.message, coalesce(j.metadata, '{}') as metadata, j.timestamp
      from journal j left join agent a on a.number = j.agent_number
     where j.kind = 0;

-- What errors have in common is not known yet: their fingerprint is null.
create view error_logs as
    select j.id, a.agent_id, j.type as error_type, j.message, j.stack_trace, j.timestamp, j.resolved,
           null as fingerprint
      from journal j left join agent a on a.number = j.agent_number
     where j.kind = 1;

-- An episode that is neither open nor has an end recorded is over: its end could not be stored.
create view alerts as
    select f.id,
           a.agent_id,
           f.type,
           case f.severity when 0 then 'info' when 1 then 'warning' else 'critical' end as severity,
           case when e.id is null and s.fired is not null then 'firing' else 'resolved' end as state,
           f.message,
           f.value,
           f.threshold,
           f.timestamp as started_at,
           e.timestamp as resolved_at
      from journal f
      left join agent a on a.number = f.agent_number
      left join journal e on e.fired = f.id
      left join alert_state s on s.fired = f.id
     where f.kind = 2;

create view agent_runs as
    select a.agent_id,
           r.pid,
           r.started_at,
           r.ended_at,
           r.exit_code,
           r.exit_signal,
           r.oom_killed,
           r.reason,
           r.cpu_us / 1000000.0 as cpu_seconds,
           round(r.peak_memory_bytes / 1048576.0, 1) as peak_memory_mb,
           round(r.last_memory_bytes / 1048576.0, 1) as last_memory_mb
      from run r join agent a on a.number = r.agent_number;

create view leftovers as
    select a.agent_id,
           l.pid,
           l.command,
           l.since,
           round(l.memory_bytes / 1048576.0, 1) as memory_mb,
           l.cpu_us / 1000000.0 as cpu_seconds,
           l.ended_at
      from leftover l join agent a on a.number = l.agent_number;
