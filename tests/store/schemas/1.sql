pragma auto_vacuum = 2;
pragma application_id = 1634168175;
pragma user_version = 1;
CREATE TABLE agent (
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
CREATE TABLE ticks (
    timestamp text    not null,
    tick      integer not null,                -- an ordinal that only grows, whatever the clock does
    samples   integer not null,                -- how many, so that deleting can be measured out beforehand
    primary key (timestamp, tick)
) strict, without rowid;
CREATE TABLE sample (
    key           integer primary key,         -- tick << 20 | agent number
    status        any     not null,            -- a number of sample_status, or the text of a rare one: rss:word
    cpu_tenths    integer,                     -- tenths of a percent of one core
    memory_kib    integer,
    process_count integer,
    thread_count  integer,
    cpu_ms        integer,
    read_io       integer,                     -- 512 bytes each, as the kernel counts; -1 - n: n bytes, no multiple
    written_io    integer,
    error_count   integer not null,
    message_count integer
) strict;
CREATE TABLE sample_status (
    id            integer primary key,
    memory_method text    not null,
    status        text    not null,
    unique (status, memory_method)
) strict;
CREATE TABLE minute (
    key               integer primary key,
    samples           integer not null,
    cpu_samples       integer,                 -- those that knew it; null: all
    cpu_sum           integer not null,        -- tenths of a percent
    cpu_max           integer not null,
    memory_samples    integer,                 -- those that knew it; null: all
    memory_sum        integer not null,        -- KiB
    memory_max        integer not null,
    memory_last       integer,
    process_count_max integer,
    cpu_ms            integer,                 -- totals, as of the last sample
    read_io           integer,
    written_io        integer
) strict;
CREATE TABLE hour (
    key               integer primary key,
    samples           integer not null,
    cpu_samples       integer,
    cpu_sum           integer not null,
    cpu_max           integer not null,
    memory_samples    integer,
    memory_sum        integer not null,
    memory_max        integer not null,
    memory_last       integer,
    process_count_max integer,
    cpu_ms            integer,
    read_io           integer,
    written_io        integer
) strict;
CREATE TABLE stretch (
    first_tick integer primary key,
    hour       text    not null,               -- YYYY-MM-DD HH
    next_agent integer not null                -- agents with lower numbers are done
) strict;
CREATE TABLE journal (
    id           integer primary key autoincrement,
    timestamp    text    not null,
    agent_number integer,                      -- null: the daemon's own
    kind         integer not null,             -- 0 event, 1 error, 2 alert fired, 3 alert ended, 4 alert told again
    type         text    not null,             -- event_type, error_type, the alert's rule
    message      text    not null,
    metadata     text,                         -- of events and errors; null: empty
    stack_trace  text,
    resolved     integer,                      -- of errors: 0 or 1
    severity     integer,                      -- of alerts, as these: 0 info, 1 warning, 2 critical
    value        real,
    threshold    real,
    fired        integer,                      -- of an alert that ended: the entry with which it fired
    error_group  integer,                      -- of errors: the problem
    client_id    text,                         -- of what is told from outside: the teller's own name for it,
    writer_uid   integer,                      -- and the teller's account
    since        text,                         -- of an alert that ended or was told again: when it fired
    source       text                          -- of an alert about a registry source: which
) strict;
CREATE INDEX journal_by_time     on journal (timestamp);
CREATE INDEX journal_by_kind     on journal (kind);
CREATE INDEX journal_by_agent    on journal (agent_number, kind);
CREATE INDEX journal_unresolved  on journal (agent_number) where resolved = 0;
CREATE INDEX journal_alert_ended on journal (fired) where fired is not null;
CREATE INDEX journal_by_group    on journal (error_group) where error_group is not null;
CREATE UNIQUE INDEX journal_by_client_id on journal (agent_number, kind, client_id) where client_id is not null;
CREATE TABLE error_group (
    id               integer primary key,
    agent_number     integer not null,
    fingerprint      text    not null,
    error_type       text    not null,         -- with the message: of the latest occurrence
    message          text    not null,         -- its beginning
    count            integer not null,
    unresolved       integer not null,
    first_seen       text    not null,
    last_seen        text    not null,
    resolved_at      text,                     -- when none was unresolved any more, last
    first_cpu_tenths integer,                  -- what the agent used at its first occurrence
    first_memory_kib integer,
    last_cpu_tenths  integer,                  -- and at its latest
    last_memory_kib  integer
) strict;
CREATE UNIQUE INDEX error_group_by_fingerprint on error_group (fingerprint, agent_number);
CREATE INDEX error_group_by_last_seen  on error_group (last_seen);
CREATE INDEX error_group_by_agent      on error_group (agent_number, last_seen);
CREATE INDEX error_group_unresolved    on error_group (agent_number, unresolved) where unresolved > 0;
CREATE TABLE run (
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
    memory_method      text    not null        -- of the two: a new daemon must not mix them
) strict;
CREATE UNIQUE INDEX run_by_process on run (agent_number, start_ticks, pid, boot);
CREATE INDEX run_by_agent on run (agent_number);
CREATE INDEX run_by_end   on run (ended_at) where ended_at is not null;
CREATE TABLE leftover (
    id           integer primary key,
    agent_number integer not null,
    boot         text    not null,
    start_ticks  integer not null,
    pid          integer not null,
    command      text    not null,
    since        text    not null,
    memory_bytes integer not null,
    cpu_us       integer not null,
    used_before_us integer not null,           -- taken off what it and its children have used now
    ended_at     text
) strict;
CREATE UNIQUE INDEX leftover_by_process on leftover (agent_number, start_ticks, pid, boot);
CREATE INDEX leftover_by_end on leftover (ended_at) where ended_at is not null;
CREATE TABLE account (
    agent_number   integer not null,
    leftover       integer not null,           -- 0: its tree, 1: its leftovers
    boot           text    not null,
    scanned_at_ns  integer not null,           -- on the monotonic clock of that boot: what began later is no member here
    cpu_us         integer not null,           -- of each: what was charged,
    cpu_coming     integer not null,           -- and what of that may come up in the counter of another member
    read_bytes     integer not null,
    read_coming    integer not null,
    written_bytes  integer not null,
    written_coming integer not null,
    primary key (agent_number, leftover)
) strict, without rowid;
CREATE TABLE member (
    agent_number     integer not null,
    start_ticks      integer not null,
    pid              integer not null,
    parent           integer,
    leftover         integer not null,
    born             integer not null,         -- whether all it used was used in this tree
    own_us           integer,                  -- its counters when it was last read; null: it was not, or may not be
    children_us      integer,
    late_us          integer,                  -- charged of processes below it, and not in its counter yet
    read_bytes       integer,
    read_late        integer,
    written_bytes    integer,
    written_late     integer,
    primary key (agent_number, start_ticks, pid)
) strict, without rowid;
CREATE TABLE host_minute (
    timestamp              text primary key,   -- when the minute began
    load_1m_hundredths     integer,
    load_5m_hundredths     integer,
    load_15m_hundredths    integer,
    cpu_count              integer,
    memory_total_kib       integer,
    memory_available_kib   integer,
    cpu_some_hundredths    integer,            -- hundredths of a percent of ten seconds
    memory_some_hundredths integer,
    memory_full_hundredths integer,
    io_some_hundredths     integer,
    io_full_hundredths     integer
) strict, without rowid;
CREATE TABLE alert_state (
    rule         text    not null,
    agent_number integer,                      -- null: the daemon's own
    source       text,                         -- the registry source it is about, if it is about one
    firing       integer not null,
    since        text    not null,
    held_ms      integer,                      -- pending: for how long the condition was seen to hold
    notified_at  text,                         -- this and the next: firing
    severity     integer,
    value        real,
    threshold    real,
    message      text,
    fired        integer                       -- the entry of the journal with which it fired
) strict;
CREATE UNIQUE INDEX alert_state_by_key on alert_state (rule, ifnull(agent_number, -1), ifnull(source, ''));
CREATE TABLE receiver (
    receiver text    primary key,              -- a digest of its kind and address
    up_to    integer not null                  -- the last entry of the journal it need not be told any more
) strict, without rowid;
CREATE TABLE retention (
    only          integer primary key check (only = 0),
    believed_at   text    not null,            -- the time, as far as deleting trusts the clock
    highest_tick  integer not null             -- the highest tick that was ever deleted
) strict;
CREATE VIEW agents as
    select agent_id, name, source, registry_status, first_seen, last_seen, metadata from agent;
CREATE VIEW agent_metrics as
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
           case when s.read_io < 0 then -1 - s.read_io else s.read_io * 512 end as read_bytes,
           case when s.written_io < 0 then -1 - s.written_io else s.written_io * 512 end as written_bytes
      from ticks t, sample s, agent a
      left join sample_status w on typeof(s.status) = 'integer' and w.id = s.status
     where s.key between t.tick << 20 and (t.tick << 20) + 1048575
       and s.key = (t.tick << 20) + a.number
       and a.number = (s.key & 1048575);
CREATE VIEW agent_metrics_minute as
    with recursive span (n) as (
        select min(key) >> 26 from minute
        union all
        select (select min(key) >> 26 from minute where key >= (n + 1) << 26) from span where n is not null
    )
    select a.agent_id,
           strftime('%Y-%m-%d %H:%M:00.000', ((r.key >> 26) * 60 + (r.key & 63)) * 60, 'unixepoch') as timestamp,
           r.samples,
           round(r.cpu_sum / 10.0 / coalesce(r.cpu_samples, r.samples), 1) as cpu_percent_avg,
           case when r.cpu_samples is not 0 then r.cpu_max / 10.0 end as cpu_percent_max,
           round(r.memory_sum / 1024.0 / coalesce(r.memory_samples, r.samples), 1) as memory_mb_avg,
           case when r.memory_samples is not 0 then round(r.memory_max / 1024.0, 1) end as memory_mb_max,
           round(r.memory_last / 1024.0, 1) as memory_mb_last,
           r.process_count_max,
           r.cpu_ms / 1000.0 as cpu_seconds,
           case when r.read_io < 0 then -1 - r.read_io else r.read_io * 512 end as read_bytes,
           case when r.written_io < 0 then -1 - r.written_io else r.written_io * 512 end as written_bytes
      from span
      join agent a
      join minute r on r.key between (n << 26) + (a.number << 6) and (n << 26) + (a.number << 6) + 63
    union all
    select a.agent_id,
           substr(t.timestamp, 1, 16) || ':00.000',
           count(*),
           round(avg(s.cpu_tenths) / 10.0, 1),
           max(s.cpu_tenths) / 10.0,
           round(avg(s.memory_kib) / 1024.0, 1),
           round(max(s.memory_kib) / 1024.0, 1),
           round((max(case when s.memory_kib >= 0 then t.tick << 32 | s.memory_kib end) & 4294967295) / 1024.0, 1),
           max(s.process_count),
           max(s.cpu_ms) / 1000.0,
           max(case when s.read_io < 0 then -1 - s.read_io else s.read_io * 512 end),
           max(case when s.written_io < 0 then -1 - s.written_io else s.written_io * 512 end)
      from stretch x, ticks t, sample s, agent a
     where t.timestamp >= x.hour || ':' and t.timestamp < x.hour || ';'
       and t.tick >= x.first_tick
       and t.tick < coalesce((select min(first_tick) from stretch where first_tick > x.first_tick), t.tick + 1)
       and s.key between t.tick << 20 and (t.tick << 20) + 1048575
       and s.key = (t.tick << 20) + a.number
       and a.number = (s.key & 1048575)
       and a.number >= x.next_agent
     group by 1, 2;
CREATE VIEW agent_metrics_hour as
    with recursive span (n) as (
        select min(key) >> 26 from hour
        union all
        select (select min(key) >> 26 from hour where key >= (n + 1) << 26) from span where n is not null
    )
    select a.agent_id,
           strftime('%Y-%m-%d %H:00:00.000', ((r.key >> 26) * 24 + (r.key & 63)) * 3600, 'unixepoch') as timestamp,
           r.samples,
           round(r.cpu_sum / 10.0 / coalesce(r.cpu_samples, r.samples), 1) as cpu_percent_avg,
           case when r.cpu_samples is not 0 then r.cpu_max / 10.0 end as cpu_percent_max,
           round(r.memory_sum / 1024.0 / coalesce(r.memory_samples, r.samples), 1) as memory_mb_avg,
           case when r.memory_samples is not 0 then round(r.memory_max / 1024.0, 1) end as memory_mb_max,
           round(r.memory_last / 1024.0, 1) as memory_mb_last,
           r.process_count_max,
           r.cpu_ms / 1000.0 as cpu_seconds,
           case when r.read_io < 0 then -1 - r.read_io else r.read_io * 512 end as read_bytes,
           case when r.written_io < 0 then -1 - r.written_io else r.written_io * 512 end as written_bytes
      from span
      join agent a
      join hour r on r.key between (n << 26) + (a.number << 6) and (n << 26) + (a.number << 6) + 63
    union all
    select a.agent_id,
           substr(t.timestamp, 1, 13) || ':00:00.000',
           count(*),
           round(avg(s.cpu_tenths) / 10.0, 1),
           max(s.cpu_tenths) / 10.0,
           round(avg(s.memory_kib) / 1024.0, 1),
           round(max(s.memory_kib) / 1024.0, 1),
           round((max(case when s.memory_kib >= 0 then t.tick << 32 | s.memory_kib end) & 4294967295) / 1024.0, 1),
           max(s.process_count),
           max(s.cpu_ms) / 1000.0,
           max(case when s.read_io < 0 then -1 - s.read_io else s.read_io * 512 end),
           max(case when s.written_io < 0 then -1 - s.written_io else s.written_io * 512 end)
      from stretch x, ticks t, sample s, agent a
     where t.timestamp >= x.hour || ':' and t.timestamp < x.hour || ';'
       and t.tick >= x.first_tick
       and t.tick < coalesce((select min(first_tick) from stretch where first_tick > x.first_tick), t.tick + 1)
       and s.key between t.tick << 20 and (t.tick << 20) + 1048575
       and s.key = (t.tick << 20) + a.number
       and a.number = (s.key & 1048575)
       and a.number >= x.next_agent
     group by 1, 2;
CREATE VIEW agent_events as
    select j.id, a.agent_id, j.type as event_type, j.message, coalesce(j.metadata, '{}') as metadata, j.timestamp
      from journal j left join agent a on a.number = j.agent_number
     where j.kind = 0;
CREATE VIEW error_logs as
    select j.id, a.agent_id, j.type as error_type, j.message, j.stack_trace, j.timestamp, j.resolved, g.fingerprint
      from journal j
      left join agent a on a.number = j.agent_number
      left join error_group g on g.id = j.error_group
     where j.kind = 1;
CREATE VIEW error_groups as
    select g.fingerprint,
           a.agent_id,
           g.error_type,
           g.message,
           case when g.unresolved = 0 then 'resolved' when g.resolved_at is null then 'open' else 'regressed' end as state,
           g.count,
           g.unresolved,
           g.first_seen,
           g.last_seen,
           g.resolved_at,
           g.first_cpu_tenths / 10.0 as first_cpu_percent,
           round(g.first_memory_kib / 1024.0, 1) as first_memory_mb,
           g.last_cpu_tenths / 10.0 as last_cpu_percent,
           round(g.last_memory_kib / 1024.0, 1) as last_memory_mb
      from error_group g left join agent a on a.number = g.agent_number;
CREATE VIEW alerts as
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
CREATE VIEW agent_runs as
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
CREATE VIEW leftovers as
    select a.agent_id,
           l.pid,
           l.command,
           l.since,
           round(l.memory_bytes / 1048576.0, 1) as memory_mb,
           l.cpu_us / 1000000.0 as cpu_seconds,
           l.ended_at
      from leftover l join agent a on a.number = l.agent_number;
CREATE VIEW host_minutes as
    select timestamp,
           load_1m_hundredths / 100.0 as load1,
           load_5m_hundredths / 100.0 as load5,
           load_15m_hundredths / 100.0 as load15,
           cpu_count,
           round(memory_total_kib / 1024.0, 1) as memory_total_mb,
           round(memory_available_kib / 1024.0, 1) as memory_available_mb,
           cpu_some_hundredths / 100.0 as cpu_pressure,
           memory_some_hundredths / 100.0 as memory_pressure,
           memory_full_hundredths / 100.0 as memory_pressure_full,
           io_some_hundredths / 100.0 as io_pressure,
           io_full_hundredths / 100.0 as io_pressure_full
      from host_minute;
insert into account values (1, 0, '0e4b7c3a-boot', 123456789012345, 7, 1, 8, 2, 9, 3);
insert into account values (1, 1, '0e4b7c3a-boot', 123456789012345, 17, 11, 18, 12, 19, 13);
insert into agent values (1, 'agent-1', NULL, 'file:/run/agents.json', 'online', '2026-01-01 12:00:00.000', '2026-01-01 13:00:00.000', '{}', 0, 0, 0, 0);
insert into agent values (2, 'agent-2', NULL, 'file:/run/agents.json', 'online', '2026-01-01 12:00:00.000', '2026-01-01 13:00:00.000', '{}', 0, 0, 0, 0);
insert into alert_state values ('open', NULL, NULL, 1, '2026-01-01 12:00:00.000', NULL, '2026-01-01 12:00:00.000', 2, NULL, NULL, '…', 3);
insert into error_group values (1, 2, 'an error', 'TypeError', 'an error', 1, 1, '2026-01-01 12:00:02.000', '2026-01-01 12:00:02.000', NULL, NULL, NULL, NULL, NULL);
insert into host_minute values ('2026-01-01 12:00:00.000', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
insert into hour values (1372644704332, 1, NULL, 125, 125, NULL, 307200, 307200, 307200, 1, 5000, 8, 16);
insert into hour values (1372644704396, 1, NULL, 125, 125, NULL, 307200, 307200, 307200, 1, 5000, 8, 16);
insert into journal values (1, '2026-01-01 12:00:01.000', 1, 0, 'started', 'an event; with ''quotes''
and lines', '{"reason":"started"}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
insert into journal values (2, '2026-01-01 12:00:02.000', 2, 1, 'TypeError', 'an error', NULL, 'at main', 0, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL);
insert into journal values (3, '2026-01-01 12:00:00.000', NULL, 2, 'open', 'open fires', NULL, NULL, NULL, 2, 99.5, 80.0, NULL, NULL, NULL, NULL, NULL, NULL);
insert into leftover values (1, 1, '0e4b7c3a-boot', 7, 8, 'it''s', '2026-01-01 12:00:00.000', 9, 10, 11, NULL);
insert into member values (1, 12345, 100, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7);
insert into member values (1, 12345, 101, NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL);
insert into member values (1, 12346, 99, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
insert into minute values (32944278208576, 1, NULL, 125, 125, NULL, 307200, 307200, 307200, 1, 5000, 8, 16);
insert into minute values (32944278208640, 1, NULL, 125, 125, NULL, 307200, 307200, 307200, 1, 5000, 8, 16);
insert into receiver values ('r', 3);
insert into run values (1, 1, '0e4b7c3a-boot', 12345, 100, '2026-01-01 12:00:00.000', NULL, NULL, NULL, NULL, NULL, NULL, 1500000, 104857600, NULL, 'pss');
insert into sample values (1048577, 0, 125, 307200, 1, 4, 5000, 8, 16, 0, NULL);
insert into sample values (1048578, 0, 125, 307200, 1, 4, 5000, 8, 16, 0, NULL);
insert into sample values (2097153, 0, 125, 307200, 1, 4, 5000, 8, 16, 0, NULL);
insert into sample values (2097154, 0, 125, 307200, 1, 4, 5000, 8, 16, 0, NULL);
insert into sample_status values (0, 'rss', 'online');
insert into sqlite_sequence values ('journal', 3);
insert into stretch values (2, '2026-01-01 13', 0);
insert into ticks values ('2026-01-01 12:00:03.000', 1, 2);
insert into ticks values ('2026-01-01 13:00:00.000', 2, 2);
