-- The first layout: one trail in which everything is said, and work tables that say what is to be done next.
--
-- Names that recur (source, kind, workflow, case, run) are stored once and numbered: a parked run has to cost less than
-- 700 bytes, and an index over small integers is a third of one over names. Numbers are never used twice.
-- Times are integer microseconds since 1970, UTC.

-- What this file is. `format_oldest_readable` lets an older release read what a newer one only added to.
create table meta (
    key text primary key,
    value text not null
) without rowid;

-- Who numbers facts: a store, in one generation of its life. With n it is the identity of a fact everywhere.
create table source (
    id integer primary key,
    name text not null unique
);

-- Kinds of facts, also those of newer releases.
create table kind (
    id integer primary key,
    name text not null unique
);

-- Workflows that have had a run.
create table workflow (
    id integer primary key,
    name text not null unique
);

-- What was published is judged by the topology it was fanned out under, so each is kept for ever.
create table topology (
    version integer primary key,
    digest text not null unique,
    app text not null,
    at integer not null,
    body blob not null
);

-- The trail. Heads are never erased; a body can be: its digest then takes its place, and the chain, which runs over
-- heads and digests, still holds. `also` repeats case_ref, so that a fact can be read without a second look-up.
create table trail (
    seq integer primary key,
    source integer not null,
    n integer not null,
    at integer not null,
    kind integer not null,
    case_id integer,
    run integer,
    run_n integer,
    causes text,
    also text,
    code integer not null,
    codec integer not null,
    chain blob not null,
    body blob not null
);
create index trail_case on trail (case_id) where case_id is not null;
create unique index trail_run on trail (run, run_n) where run is not null;

-- Further cases that a fact touches; only its home case is in its head.
create table case_ref (
    case_id integer not null,
    seq integer not null,
    primary key (case_id, seq)
) without rowid;

-- What has been taken, and what its body was: a known id is a duplicate, a known id with another body is refused.
-- An id of 32 hex digits is kept as 16 bytes.
create table message (
    id blob primary key,
    digest blob not null,
    seq integer not null
) without rowid;

-- Outbox entry and queue entry in one: an open row is owed, a closed one is gone, a dead one stays.
create table obligation (
    message text not null,
    grp text not null,
    type text not null,
    "case" text,
    seq integer not null,
    position integer not null,
    state text not null,
    attempts integer not null default 0,
    claims integer not null default 0,
    due_at integer not null default 0,
    caller text,
    step text,
    barred integer not null default 0,
    late integer not null default 0,
    retry text,
    primary key (message, grp)
) without rowid;
create index obligation_case on obligation ("case") where "case" is not null;

-- Runs stay for the life of their case: their numbers stand in the trail, and a second start is seen by them. A run is
-- called workflow/case/number; one that is called otherwise has its name here. status: 0 open, 1 stopped, 2 ended.
-- on_close: 0 wait, 1 cancel, 2 abandon.
create table run (
    id integer primary key,
    workflow integer not null,
    case_id integer not null,
    number integer not null,
    status integer not null default 0,
    epoch integer not null default 0,
    run_n integer not null default 0,
    wakes_at integer,
    on_close integer not null default 0,
    parent text,
    parent_step text,
    name text
);
create unique index run_number on run (case_id, workflow, number, coalesce(name, ''));
create unique index run_name on run (name) where name is not null;
create index run_open on run (status) where status = 0;

-- The folded cases. A row is also the case's name in the trail, so it is rewritten and never deleted; a case that a run
-- names before anything is said of it has rank -1. `partition` is recorded for the day when partitions have owners.
create table cases (
    id integer primary key,
    case_type text not null,
    case_key text not null,
    partition integer not null,
    rank integer not null,
    stuck integer not null,
    at text,
    since integer not null,
    deadline integer,
    fold integer not null,
    seq integer not null,
    codec integer not null,
    state blob not null
);
create unique index cases_name on cases (case_key, case_type);
create index cases_rank on cases (rank, since);
create index cases_stuck on cases (rank, since) where stuck;
create index cases_deadline on cases (deadline) where deadline is not null;

-- Groups that somebody paused or retired; the others have no row.
create table grp (
    name text primary key,
    state text not null,
    since integer not null,
    by text not null
) without rowid;

-- Requests taken while no engine ran, owed to the next one.
create table request (
    id text primary key,
    seq integer not null
) without rowid;

-- Runs and the trail with their names.
create view run_named as
select
    run.id,
    coalesce(run.name, workflow.name || '/' || cases.case_type || ':' || cases.case_key || '/' || run.number) as name,
    workflow.name as workflow,
    run.case_id,
    cases.case_type || ':' || cases.case_key as "case",
    run.number,
    run.status,
    run.epoch,
    run.run_n,
    run.wakes_at,
    run.parent,
    run.parent_step,
    run.on_close
from run
join workflow on workflow.id = run.workflow
join cases on cases.id = run.case_id;

create view fact as
select
    trail.seq,
    source.name as source,
    trail.n,
    trail.at,
    kind.name as kind,
    cases.case_type || ':' || cases.case_key as "case",
    run_named.name as run,
    trail.run_n,
    trail.causes,
    trail.also,
    trail.code,
    case trail.codec when 0 then cast(trail.body as text) end as body
from trail
join source on source.id = trail.source
join kind on kind.id = trail.kind
left join cases on cases.id = trail.case_id
left join run_named on run_named.id = trail.run;
