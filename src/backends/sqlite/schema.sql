-- The whole of litework in one file. Times are milliseconds since 1970 UTC.
-- Words of `state` and `reason`: the table in src/state.rs; a test compares the two.

CREATE TABLE litework_meta (
  name  TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- A lane is one (queue, kind): what a claim opens or shuts as a whole.
CREATE TABLE litework_lane (
  id    INTEGER PRIMARY KEY,
  queue TEXT NOT NULL CHECK (octet_length(queue) BETWEEN 1 AND 64),
  kind  TEXT NOT NULL CHECK (octet_length(kind) BETWEEN 1 AND 64),
  UNIQUE (queue, kind)
) STRICT;

CREATE TABLE litework_task (
  id               INTEGER PRIMARY KEY,             -- never reused: the newest row is never pruned
  tag              INTEGER NOT NULL,                -- random; half of the outside id
  lane             INTEGER NOT NULL,                -- litework_lane.id
  state            TEXT    NOT NULL,
  reason           TEXT,
  rank             INTEGER NOT NULL,                -- due_at - priority * step_ms; smaller runs first
  priority         INTEGER NOT NULL CHECK (priority BETWEEN -100 AND 100),
  due_at           INTEGER NOT NULL CHECK (due_at BETWEEN 0 AND 253402300799999),
  enqueued_at      INTEGER NOT NULL,
  started_at       INTEGER,                         -- of the newest attempt
  finished_at      INTEGER,                         -- set exactly in final states
  expires_at       INTEGER,
  attempt          INTEGER NOT NULL DEFAULT 0,      -- spent or running
  attempts_max     INTEGER NOT NULL,
  crashes          INTEGER NOT NULL DEFAULT 0,
  snoozes          INTEGER NOT NULL DEFAULT 0,
  at_most_once     INTEGER NOT NULL DEFAULT 0,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  stuck            INTEGER NOT NULL DEFAULT 0,
  dismissed        INTEGER NOT NULL DEFAULT 0,      -- its owner has taken it off their list
  worker           INTEGER,                         -- litework_worker.id of the newest attempt
  batch            INTEGER,                         -- the task that sums it up
  owner            TEXT,                            -- whose task it is
  key              TEXT,                            -- idempotency key, for as long as the row is kept
  unique_key       TEXT,                            -- cleared when the task leaves the states it covers
  wait_key         TEXT,                            -- its gate: a lock, a limit or a rate
  ties             TEXT,                            -- JSON object: what its start or end means to others
  name             TEXT,                            -- what people call it, where that is not the kind
  trace            TEXT,                            -- W3C traceparent
  tags             TEXT,                            -- JSON array of text, sorted
  meta             TEXT,                            -- JSON object
  options          TEXT,                            -- JSON object: where this call differs
  arguments        TEXT,                            -- JSON object; NULL: in litework_payload
  result           TEXT,                            -- JSON; NULL: none, or in litework_payload
  -- One nested CASE, as IN with three words or more would build a table for each row written.
  CHECK (CASE state
    WHEN 'ready'     THEN reason IS NULL AND finished_at IS NULL
    WHEN 'running'   THEN reason IS NULL AND finished_at IS NULL AND worker IS NOT NULL
    WHEN 'succeeded' THEN reason IS NULL AND finished_at IS NOT NULL
    WHEN 'scheduled' THEN finished_at IS NULL AND CASE reason
      WHEN 'delayed' THEN 1 WHEN 'retry' THEN 1 WHEN 'snoozed' THEN 1 WHEN 'rate' THEN 1 END
    WHEN 'waiting'   THEN finished_at IS NULL AND CASE reason
      WHEN 'parents' THEN 1 WHEN 'lock' THEN 1 WHEN 'limit' THEN 1 END
    WHEN 'failed'    THEN finished_at IS NOT NULL AND CASE reason
      WHEN 'error' THEN 1 WHEN 'gave_up' THEN 1 WHEN 'timeout' THEN 1 WHEN 'expired' THEN 1
      WHEN 'lost' THEN 1 WHEN 'quarantined' THEN 1 WHEN 'bad_arguments' THEN 1
      WHEN 'result_too_large' THEN 1 WHEN 'bad_row' THEN 1 WHEN 'parent' THEN 1 END
    WHEN 'cancelled' THEN finished_at IS NOT NULL AND CASE reason
      WHEN 'asked' THEN 1 WHEN 'parent' THEN 1 WHEN 'superseded' THEN 1 WHEN 'overlap' THEN 1 END
    WHEN 'skipped'   THEN finished_at IS NOT NULL AND CASE reason
      WHEN 'locked' THEN 1 WHEN 'throttled' THEN 1 WHEN 'overlap' THEN 1 END
    END IS TRUE)
) STRICT;

-- Each index is partial, so a task stands in the one of its state only, and pays for a key, an
-- owner or a parent only if it has one.
CREATE INDEX litework_task_ready     ON litework_task (lane, rank)          WHERE state = 'ready';
CREATE INDEX litework_task_scheduled ON litework_task (due_at)              WHERE state = 'scheduled';
CREATE INDEX litework_task_waiting   ON litework_task (lane)                WHERE state = 'waiting';
CREATE INDEX litework_task_running   ON litework_task (worker, lane)        WHERE state = 'running';
CREATE INDEX litework_task_finished  ON litework_task (finished_at)         WHERE finished_at IS NOT NULL;
CREATE INDEX litework_task_failed    ON litework_task (finished_at)         WHERE state = 'failed';
CREATE UNIQUE INDEX litework_task_key    ON litework_task (key)             WHERE key IS NOT NULL;
CREATE UNIQUE INDEX litework_task_unique ON litework_task (unique_key)      WHERE unique_key IS NOT NULL;
CREATE INDEX litework_task_gate      ON litework_task (wait_key, state, rank)
  WHERE wait_key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX litework_task_owner     ON litework_task (owner, id)           WHERE owner IS NOT NULL;
CREATE INDEX litework_task_batch     ON litework_task (batch, finished_at)  WHERE batch IS NOT NULL;

-- One task waits for another. Both ends are kept until they are pruned, so that a batch can be run again.
CREATE TABLE litework_edge (
  before INTEGER NOT NULL,                          -- must end first
  after  INTEGER NOT NULL,                          -- waits for it
  policy TEXT    NOT NULL CHECK (policy = 'success' OR policy = 'finish'),
  open   INTEGER NOT NULL DEFAULT 1,                -- 0: `before` has ended
  place  INTEGER NOT NULL DEFAULT 0,                -- among those before `after`
  PRIMARY KEY (before, after)
) STRICT, WITHOUT ROWID;
CREATE INDEX litework_edge_after ON litework_edge (after, open);

-- What holds for a queue, a kind, or all tasks with one rate key.
CREATE TABLE litework_rule (
  scope        TEXT    NOT NULL CHECK (CASE scope WHEN 'queue' THEN 1 WHEN 'kind' THEN 1 WHEN 'key' THEN 1 END IS TRUE),
  name         TEXT    NOT NULL,
  paused_at    INTEGER,                             -- since when nothing of it is started
  max_running  INTEGER,                             -- in all processes together
  rate_count   INTEGER,                             -- so many starts …
  rate_ms      INTEGER,                             -- … in so long …
  rate_burst   INTEGER,                             -- … of which so many at once
  next_at      INTEGER NOT NULL DEFAULT 0,          -- microseconds: when the rate is even again
  closed_until INTEGER,                             -- a task said: not before
  edited_at    INTEGER,                             -- by a person; the program's wish no longer counts
  PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

-- Results of the steps of a task.
CREATE TABLE litework_step (
  task      INTEGER NOT NULL,
  name      TEXT    NOT NULL,
  value     TEXT    NOT NULL,                       -- JSON
  stored_at INTEGER NOT NULL,
  PRIMARY KEY (task, name)
) STRICT, WITHOUT ROWID;

-- How far a task has come: src/progress.rs. Of a batch, the sums of its members.
CREATE TABLE litework_progress (
  task      INTEGER PRIMARY KEY,
  revision  INTEGER NOT NULL,                       -- grows with each write
  attempt   INTEGER NOT NULL,                       -- that said it; 0: none yet
  done      INTEGER NOT NULL,
  total     INTEGER,
  unit      TEXT,
  stage     TEXT,
  message   TEXT,                                   -- for the user
  told_at   INTEGER NOT NULL,
  since     INTEGER,                                -- when the attempt said first how much is done …
  came_from INTEGER,                                -- … how much that was …
  samples   INTEGER NOT NULL                        -- … and how often it has said more
) STRICT;

-- What tasks log, the newest lines of each attempt.
CREATE TABLE litework_log (
  task    INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  number  INTEGER NOT NULL,                         -- in the attempt, from 1
  at      INTEGER NOT NULL,
  level   TEXT    NOT NULL,                         -- info, warning, error
  text    TEXT    NOT NULL,
  PRIMARY KEY (task, attempt, number)
) STRICT, WITHOUT ROWID;

-- What tasks leave for people: src/artifact.rs.
CREATE TABLE litework_artifact (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,     -- never reused, as its parts are numbered by it
  task       INTEGER NOT NULL,
  number     INTEGER,                               -- in the task, once it is complete
  name       TEXT    NOT NULL,
  kind       TEXT    NOT NULL,                      -- text, url, json, file
  media_type TEXT    NOT NULL,
  size       INTEGER NOT NULL DEFAULT 0,
  parts      INTEGER NOT NULL DEFAULT 0,
  beside     INTEGER NOT NULL DEFAULT 0,            -- 1: in a file of the folder beside this one
  attempt    INTEGER NOT NULL,
  state      TEXT    NOT NULL CHECK (state = 'open' OR state = 'ready' OR state = 'gone'),
  created_at INTEGER NOT NULL,
  expires_at INTEGER
) STRICT;
CREATE INDEX litework_artifact_task        ON litework_artifact (task);
CREATE UNIQUE INDEX litework_artifact_name ON litework_artifact (task, name) WHERE state = 'ready';
CREATE INDEX litework_artifact_gone        ON litework_artifact (id)         WHERE state = 'gone';
CREATE INDEX litework_artifact_expiry      ON litework_artifact (expires_at)
  WHERE state = 'ready' AND expires_at IS NOT NULL;

-- Parts of artifacts: 4194304 * artifact + place.
CREATE TABLE litework_part (
  id   INTEGER PRIMARY KEY,
  body BLOB NOT NULL
) STRICT;

-- What was counted of tasks: src/counters.rs.
CREATE TABLE litework_counter (
  span   INTEGER NOT NULL,                          -- milliseconds: of a minute, of an hour; 0: of all time
  at     INTEGER NOT NULL,                          -- when it begins
  lane   INTEGER NOT NULL,
  counts TEXT    NOT NULL,                          -- JSON object
  PRIMARY KEY (span, at, lane)
) STRICT, WITHOUT ROWID;

-- Who did what: src/audit.rs.
CREATE TABLE litework_audit (
  id     INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  actor  TEXT    NOT NULL,
  action TEXT    NOT NULL,
  what   TEXT    NOT NULL,                          -- JSON object
  count  INTEGER NOT NULL,
  note   TEXT
) STRICT;

-- Arguments (2 * task) and results (2 * task + 1) over 2 KiB, so that claim and finish never
-- rewrite them.
CREATE TABLE litework_payload (
  id   INTEGER PRIMARY KEY,
  body TEXT NOT NULL
) STRICT;

-- One row for each attempt that did not simply succeed.
CREATE TABLE litework_error (
  id          INTEGER PRIMARY KEY,
  task        INTEGER NOT NULL,
  attempt     INTEGER NOT NULL,
  outcome     TEXT    NOT NULL,
  started_at  INTEGER,
  finished_at INTEGER,
  worker      INTEGER,
  report      TEXT                                  -- JSON object: kind, code, message, causes, …
) STRICT;
CREATE INDEX litework_error_task ON litework_error (task);

-- Processes that run tasks. A row is the lease of all that its process holds.
CREATE TABLE litework_worker (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,      -- the owner number in every lease
  name      TEXT    NOT NULL,
  file      TEXT    NOT NULL,                       -- stem of its lock and slots files
  boot      TEXT    NOT NULL,                       -- the machine's boot it was started in
  pid       INTEGER NOT NULL,
  threads   INTEGER NOT NULL,
  serves    INTEGER NOT NULL,                       -- 1: goes on running tasks by itself
  kinds     TEXT    NOT NULL,                       -- JSON array of text
  queues    TEXT    NOT NULL,                       -- those it takes tasks of, likewise; '[]': all
  excluded  TEXT    NOT NULL,                       -- those it takes none of, likewise
  beat      INTEGER NOT NULL DEFAULT 0,             -- counts renewals
  joined_at INTEGER NOT NULL,
  left_at   INTEGER
) STRICT;
CREATE INDEX litework_worker_live ON litework_worker (id) WHERE left_at IS NULL;

-- What programs in other languages write to enqueue: the contract in inbox.md. Its defaults and checks use
-- nothing that SQLite 3.37 lacks, as they run in the writer's SQLite.
CREATE TABLE litework_inbox (
  id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused, so that a writer finds its own row only
  contract       INTEGER NOT NULL DEFAULT 1,        -- which version of the contract the row keeps to
  kind           TEXT    NOT NULL CONSTRAINT "kind must be 1 to 64 of A-Z a-z 0-9 . _ -"
    CHECK (length(kind) BETWEEN 1 AND 64 AND kind NOT GLOB '*[^-A-Za-z0-9._]*'),
  args           TEXT    NOT NULL DEFAULT '{}',     -- JSON object by parameter name; emptied once it is a task
  queue          TEXT,                              -- here and below, NULL: as the kind has it
  priority       INTEGER,
  attempts       INTEGER,
  run_at         ANY,                               -- milliseconds, or text in UTC; NULL: now
  key            TEXT,                              -- idempotency key
  tags           TEXT,                              -- JSON array of text
  sqlite_version TEXT    NOT NULL DEFAULT (sqlite_version()), -- the writer's
  created_at     INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
  settled_at     INTEGER,                           -- when it was taken or refused
  task           TEXT,                              -- outside id of the task that it became
  error          TEXT                               -- why it was refused; NULL again: look again
) STRICT;
CREATE INDEX litework_inbox_open    ON litework_inbox (kind, id)    WHERE task IS NULL AND error IS NULL;
CREATE INDEX litework_inbox_taken   ON litework_inbox (settled_at)  WHERE task IS NOT NULL;
CREATE INDEX litework_inbox_refused ON litework_inbox (settled_at)  WHERE error IS NOT NULL;

-- What makes tasks by itself, at moments that follow from a rule: src/schedule.rs.
CREATE TABLE litework_schedule (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,    -- never reused, as slots and tasks name it
  name        TEXT    NOT NULL UNIQUE,
  seed        TEXT    UNIQUE,                       -- its name in code; NULL: no code declares it
  program     TEXT,                                 -- the program whose code that is
  kind        TEXT    NOT NULL,
  cron        INTEGER NOT NULL,                     -- 1: not each program can tell its slots
  code        TEXT,                                 -- JSON object: what code says of it
  edits       TEXT    NOT NULL,                     -- JSON object: what people say instead
  generation  INTEGER NOT NULL DEFAULT 0,           -- grows with each change of timing or calls
  created_at  INTEGER NOT NULL,
  edited_at   INTEGER,
  orphaned_at INTEGER,                              -- since when code declares it no more
  next_at     INTEGER,                              -- the next slot
  due_at      INTEGER,                              -- when that makes its task: with its jitter
  held        INTEGER NOT NULL DEFAULT 0,           -- 1: it was due, and nobody could make its task
  planned_at  INTEGER,                              -- when the next slot was found
  fired       TEXT    NOT NULL DEFAULT '[]',        -- JSON: stretches of slots that have fired
  runs        INTEGER NOT NULL DEFAULT 0,
  missed      INTEGER NOT NULL DEFAULT 0,
  overlapped  INTEGER NOT NULL DEFAULT 0,
  failures    INTEGER NOT NULL DEFAULT 0,           -- tasks in a row that have failed for good
  failing_at  INTEGER,                              -- since when it is stopped because of them
  damage      TEXT                                  -- why it cannot be used
) STRICT;
CREATE INDEX litework_schedule_due     ON litework_schedule (kind, cron, due_at)
  WHERE due_at IS NOT NULL AND held = 0;
CREATE INDEX litework_schedule_held    ON litework_schedule (kind, id)   WHERE held = 1;
CREATE INDEX litework_schedule_planned ON litework_schedule (planned_at) WHERE planned_at IS NOT NULL;
CREATE INDEX litework_schedule_idle    ON litework_schedule (id)
  WHERE next_at IS NULL AND orphaned_at IS NULL;
CREATE INDEX litework_schedule_program ON litework_schedule (program)    WHERE program IS NOT NULL;

-- What became of the slots of schedules; kept apart from their tasks, which are pruned.
CREATE TABLE litework_slot (
  id          INTEGER PRIMARY KEY,                  -- in the order in which they were noted
  schedule    INTEGER NOT NULL,
  at          INTEGER NOT NULL,                     -- the slot
  kind        TEXT    NOT NULL,                     -- SlotKind in src/slot.rs
  count       INTEGER NOT NULL,                     -- how many slots it stands for
  fired_at    INTEGER NOT NULL,
  task        INTEGER,
  tag         INTEGER,                              -- of the task
  state       TEXT,                                 -- how the task ended
  finished_at INTEGER,                              -- NULL: it has not
  UNIQUE (schedule, at)
) STRICT;
CREATE INDEX litework_slot_order ON litework_slot (schedule, id);
