-- Rows: `row:KEY` is a row as MessagePack, `blob:KEY` its message. Beside them stand
--   ready:SINK    what may be handed out, by when; members sort like row numbers. Urgent and bulk
--                 rows have their own, ready0:SINK and ready2:SINK
--   expiring      scheduled deliveries by when they expire; members as in ready:SINK
--   order:SCOPE   open rows of an order scope, by sequence
--   waiting:KEY   keys of the rows that wait on a family
--   open, dead    keys of open rows, and of dead ones, in order
--   ended         keys of final rows, by when they last changed
--   tally, bytes  counts by kind, state and sink

-- Fields of a row; SIZE is its message's, false without one.
local KEY, KIND, STATE, SINK, EPOCH, OWNER, LEASE_UNTIL, DUE = 1, 2, 3, 4, 5, 6, 7, 8
local ATTEMPTS, FIRST_AT, EXPIRES_AT, FAMILY, WAIT_ON, WAITS_FOR = 9, 10, 11, 12, 13, 14
local STARTS_ON, ORDER_SCOPE, SEQ, CANCEL_SCOPE, EVENT_TIME, EVENT_HASH = 15, 16, 17, 18, 19, 20
local POSITION = 21
local REASON, REASON_TEXT, UPDATED, DOUBTFUL, SIZE, NUMBER, RANK = 22, 23, 24, 25, 26, 27, 28

local FINAL = {delivered = true, suppressed = true, dead = true}
local RANKS = {0, 1, 2}
local NORMAL = 1
local CHUNK = 500

local rows = {}      -- as stored, or as they stand by now; false: there is none
local counts = {}    -- changes of the tally
local sizes = {}
local lowest = {}    -- of each order scope that was touched, before it was; false: none
local last_number

-- The store ------------------------------------------------------------------------------------

local function get(key)
  local row = rows[key]
  if row == nil then
    local stored = call('GET', prefix .. 'row:' .. key)
    row = stored and cmsgpack.unpack(stored)
    rows[key] = row
  end
  return row
end

local function copy(row)
  local new = {}
  for i = 1, RANK do
    new[i] = row[i]
  end
  return new
end

local function count(row, sign)
  local name = row[KIND] .. '|' .. row[STATE] .. '|' .. row[SINK]
  counts[name] = (counts[name] or 0) + sign
  sizes[name] = (sizes[name] or 0) + sign * (row[SIZE] or 0)
end

local function is_ordered(row)
  return row[ORDER_SCOPE] and row[SEQ]
end

local function lowest_of(scope)
  return tonumber(call('ZRANGE', prefix .. 'order:' .. scope, 0, 0, 'WITHSCORES')[2] or nil)
end

local function member(row)
  return string.format('%016x', row[NUMBER]) .. row[KEY]
end

local function lane(sink, rank)
  return prefix .. 'ready' .. (rank == NORMAL and '' or rank) .. ':' .. sink
end

-- A row that was written before there were ranks has none.
local function lane_of(row)
  return lane(row[SINK], row[RANK] or NORMAL)
end

-- When the schedule may hand out a row that heads its order scope; nil: not by itself.
local function ready_at(row)
  if row[STATE] == 'claimed' then
    return row[SIZE] and row[LEASE_UNTIL] or nil
  end
  return not FINAL[row[STATE]] and row[DUE] or nil
end

-- When a row expires wherever it waits; nil: it does not.
local function expires_at(row)
  local waits = row[STATE] == 'scheduled' and row[KIND] == 'delivery'
  return waits and row[EXPIRES_AT] or nil
end

local function unindex(row)
  count(row, -1)
  if FINAL[row[STATE]] then
    call('ZREM', prefix .. 'ended', row[KEY])
    if row[STATE] == 'dead' then
      call('ZREM', prefix .. 'dead', row[KEY])
    end
    return
  end
  if ready_at(row) then
    call('ZREM', lane_of(row), member(row))
  end
  if expires_at(row) then
    call('ZREM', prefix .. 'expiring', member(row))
  end
  if row[STATE] == 'waiting' and row[WAIT_ON] then
    call('SREM', prefix .. 'waiting:' .. row[WAIT_ON], row[KEY])
  end
end

-- Rows of an order scope are not ready before its heads are mended.
local function index(row)
  count(row, 1)
  if FINAL[row[STATE]] then
    call('ZADD', prefix .. 'ended', number(row[UPDATED]), row[KEY])
    if row[STATE] == 'dead' then
      call('ZADD', prefix .. 'dead', 0, row[KEY])
    end
    return
  end
  local at = ready_at(row)
  if at and not is_ordered(row) then
    call('ZADD', lane_of(row), number(at), member(row))
  end
  if expires_at(row) then
    call('ZADD', prefix .. 'expiring', number(expires_at(row)), member(row))
  end
  if row[STATE] == 'waiting' and row[WAIT_ON] then
    call('SADD', prefix .. 'waiting:' .. row[WAIT_ON], row[KEY])
  end
end

local function touch(row, was_open, is_open)
  if not is_ordered(row) then
    return
  end
  local scope = row[ORDER_SCOPE]
  if lowest[scope] == nil then
    lowest[scope] = lowest_of(scope) or false
  end
  if is_open and not was_open then
    call('ZADD', prefix .. 'order:' .. scope, number(row[SEQ]), member(row))
  elseif was_open and not is_open then
    call('ZREM', prefix .. 'order:' .. scope, member(row))
  end
end

-- Writes a row. `blob` is its message where that is new, nil where it stays as it is.
local function put(row, blob)
  local old = get(row[KEY])
  if old then
    row[NUMBER] = old[NUMBER]
    unindex(old)
  else
    last_number = (last_number or tonumber(call('GET', prefix .. 'number') or '0')) + 1
    row[NUMBER] = last_number
  end
  local was_open, is_open = old and not FINAL[old[STATE]], not FINAL[row[STATE]]
  touch(row, was_open, is_open)
  if is_open and not was_open then
    call('ZADD', prefix .. 'open', 0, row[KEY])
  elseif was_open and not is_open then
    call('ZREM', prefix .. 'open', row[KEY])
  end
  if blob and row[SIZE] then
    call('SET', prefix .. 'blob:' .. row[KEY], blob)
  elseif old and old[SIZE] and not row[SIZE] then
    call('DEL', prefix .. 'blob:' .. row[KEY])
  end
  index(row)
  rows[row[KEY]] = row
  call('SET', prefix .. 'row:' .. row[KEY], cmsgpack.pack(row))
end

local function remove(row)
  local is_open = not FINAL[row[STATE]]
  unindex(row)
  touch(row, is_open, false)
  if is_open then
    call('ZREM', prefix .. 'open', row[KEY])
  end
  rows[row[KEY]] = false
  call('DEL', prefix .. 'row:' .. row[KEY], prefix .. 'blob:' .. row[KEY])
end

local function mend_sequence(scope, seq, heads)
  local members = call(
    'ZRANGE', prefix .. 'order:' .. scope, number(seq), number(seq), 'BYSCORE')
  for _, name in ipairs(members) do
    local row = get(name:sub(17))
    local at = ready_at(row)
    if at and heads then
      call('ZADD', lane_of(row), number(at), name)
    else
      call('ZREM', lane_of(row), name)
    end
  end
end

-- Makes the rows that head each touched scope ready, and the former heads wait.
local function mend()
  for scope, before in pairs(lowest) do
    local head = lowest_of(scope)
    if head then
      mend_sequence(scope, head, true)
      if before and before > head then
        mend_sequence(scope, before, false)
      end
    end
  end
end

local function finish()
  mend()
  if last_number then
    call('SET', prefix .. 'number', number(last_number))
  end
  for name, change in pairs(counts) do
    if change ~= 0 then
      call('HINCRBY', prefix .. 'tally', name, change)
    end
    if sizes[name] ~= 0 then
      call('HINCRBY', prefix .. 'bytes', name, sizes[name])
    end
  end
end

local function is_behind(row)
  local first = is_ordered(row) and lowest_of(row[ORDER_SCOPE])
  return first and first < row[SEQ]
end

-- What becomes of a row ------------------------------------------------------------------------

-- `due` and size of a row that nobody holds: the message goes with its end, but the dead keep it.
local function rest(row)
  if FINAL[row[STATE]] then
    row[DUE] = false
    if row[STATE] ~= 'dead' then
      row[SIZE] = false
    end
  elseif not row[DUE] and row[STATE] == 'scheduled' then
    row[DUE] = now
  end
  row[OWNER], row[LEASE_UNTIL], row[DOUBTFUL], row[UPDATED] = false, false, false, now
end

local function held(row, until_)
  local new = copy(row)
  new[DOUBTFUL] = row[DOUBTFUL] or row[STATE] == 'claimed'
  new[STATE], new[EPOCH] = 'claimed', row[EPOCH] + 1
  new[OWNER], new[LEASE_UNTIL], new[UPDATED] = given.owner, until_, now
  return new
end

local function insert(row, blob)
  rest(row)
  put(row, blob)
end

local function merge(stored, row, blob)
  local new = copy(stored)
  new[STATE], new[DUE], new[ATTEMPTS] = row[STATE], row[DUE], row[ATTEMPTS]
  new[REASON], new[REASON_TEXT] = row[REASON], row[REASON_TEXT]
  new[SINK] = row[SINK] ~= '' and row[SINK] or stored[SINK]
  new[FIRST_AT] = row[FIRST_AT] or stored[FIRST_AT]
  new[EXPIRES_AT] = row[EXPIRES_AT] or stored[EXPIRES_AT]
  new[SIZE] = row[SIZE] or stored[SIZE]
  rest(new)
  put(new, blob)
end

-- Claims ---------------------------------------------------------------------------------------

local function is_cancelled(row)
  if not row[CANCEL_SCOPE] then
    return false
  end
  for _, packed in ipairs(call('HVALS', prefix .. 'fact:' .. row[CANCEL_SCOPE])) do
    local mark = cmsgpack.unpack(packed)
    local at = tonumber(mark[VALUE])
    if at and is_live(mark[UNTIL]) and at >= row[EVENT_TIME] then
      return true
    end
  end
  return false
end

-- What is told of a row that stands already.
local function done(stored, row)
  local a, b = stored[EVENT_HASH], row[EVENT_HASH]
  return {'done', stored[STATE], a ~= '' and b ~= '' and a ~= b}
end

local function claim(row, blob)
  local lease_until = now + given.lease
  local stored = get(row[KEY])
  if not stored then
    if is_cancelled(row) then
      return {'cancelled'}
    elseif is_behind(row) then
      return {'behind'}
    end
    row[STATE], row[EPOCH], row[OWNER], row[LEASE_UNTIL] = 'claimed', 1, given.owner, lease_until
    row[DUE], row[DOUBTFUL], row[UPDATED] = false, false, now
    put(row, blob)
    return {'granted', 1}
  elseif stored[STATE] ~= 'claimed' then
    return done(stored, row)
  elseif stored[LEASE_UNTIL] and stored[LEASE_UNTIL] > now then
    return {'held', stored[LEASE_UNTIL]}
  elseif is_behind(stored) then
    return {'behind'}
  end
  put(held(stored, lease_until))
  return {'doubtful', stored[EPOCH] + 1, stored[ATTEMPTS]}
end

function operations.claim()
  return each(given.rows, claim)
end

-- Settlements ----------------------------------------------------------------------------------

local UNCLAIMED = -1

local function settled(stored, row)
  local state = row[STATE]
  if not stored then
    return row[EPOCH] == UNCLAIMED and 'stale' or 'ok'
  elseif FINAL[stored[STATE]] or row[EPOCH] == 0 then
    return stored[STATE] == state and 'same' or 'stale'
  elseif row[EPOCH] == UNCLAIMED then
    return stored[EPOCH] == 0 and 'ok' or 'stale'
  elseif row[EPOCH] ~= stored[EPOCH] then
    return state == 'delivered' and 'ok' or 'stale'
  end
  return stored[STATE] == state and 'same' or 'ok'
end

local function shares_cause(row, causes)
  for cause in row[STARTS_ON]:gmatch('[^,]+') do
    if causes[cause] then
      return true
    end
  end
  return false
end

local function drop_waiting(row, reason)
  row[STATE], row[DUE], row[SIZE] = 'suppressed', false, false
  row[REASON], row[REASON_TEXT] = reason[1], reason[2]
  put(row)
end

-- Ends whatever waits on a family, and what waits on that.
local function drop_followers(family, reason)
  local dropped = {}
  for _, key in ipairs(call('SMEMBERS', prefix .. 'waiting:' .. family)) do
    local row = copy(get(key))
    row[UPDATED] = now
    drop_waiting(row, reason)
    dropped[#dropped + 1] = row[FAMILY] or nil
  end
  for _, next_family in ipairs(dropped) do
    drop_followers(next_family, reason)
  end
end

local function wake(family, causes, reason)
  local dropped = {}
  for _, key in ipairs(call('SMEMBERS', prefix .. 'waiting:' .. family)) do
    local row = copy(get(key))
    row[UPDATED] = now
    if causes and shares_cause(row, causes) then
      if row[WAITS_FOR] > 1 then
        row[WAITS_FOR] = row[WAITS_FOR] - 1
      else
        row[STATE], row[WAITS_FOR], row[DUE] = 'scheduled', 0, now
      end
      put(row)
    elseif not shares_cause(row, {unseen = true}) then
      drop_waiting(row, reason)
      dropped[#dropped + 1] = row[FAMILY] or nil
    end
  end
  for _, next_family in ipairs(dropped) do
    drop_followers(next_family, reason)
  end
end

local function settle(row, blob, waiters, causes, follow_ups, drop_reason)
  local stored = get(row[KEY])
  local answer = settled(stored, row)
  if answer ~= 'ok' then
    return answer
  end
  if stored then
    merge(stored, row, blob)
  else
    insert(row, blob)
  end
  for _, follow_up in ipairs(follow_ups) do
    if not get(follow_up[1][KEY]) then
      insert(follow_up[1], follow_up[2])
    end
  end
  local family = get(row[KEY])[FAMILY]
  if waiters ~= 'keep' and family then
    local named = waiters == 'start' and {}
    for _, cause in ipairs(named and causes or {}) do
      named[cause] = true
    end
    wake(family, named, drop_reason)
  end
  return answer
end

function operations.settle()
  return each(given.settlements, settle)
end

-- Schedule -------------------------------------------------------------------------------------

-- Whether a row stands where the schedule has it. A replica of an older version, which knows no
-- ranks, may have left it elsewhere: then it is put where it belongs.
local function is_in_place(row, lane, at, member)
  local is_ready = row and ready_at(row) and not is_behind(row)
  if is_ready and lane_of(row) == lane and ready_at(row) == at then
    return true
  end
  call('ZREM', lane, member)
  if is_ready then
    call('ZADD', lane_of(row), number(ready_at(row)), member)
  end
  return false
end

-- At most so many of what is ready in a lane and of a wanted kind, added as {time, member, rank}.
local function find_ready(found, sink, rank, most, kinds)
  local left, start = most, 0
  local from = lane(sink, rank)
  while left > 0 do
    local ready = call(
      'ZRANGE', from, '-inf', number(now), 'BYSCORE', 'LIMIT', start, left, 'WITHSCORES')
    for i = 1, #ready, 2 do
      local name, at = ready[i], tonumber(ready[i + 1])
      local row = get(name:sub(17))
      if not is_in_place(row, from, at, name) then
        start = start - 1
      elseif not kinds or kinds[row[KIND]] then
        found[#found + 1] = {at, name, rank}
        left = left - 1
      end
    end
    start = start + #ready / 2
    if #ready == 0 then
      break
    end
  end
  return left
end

-- Claims a row; as it was before, and its message.
local function take_up(row)
  local new = held(row, now + given.lease)
  put(new)
  local shown = copy(new)
  shown[STATE] = row[STATE]
  return {shown, row[SIZE] and call('GET', prefix .. 'blob:' .. row[KEY])}
end

function operations.due()
  local kinds
  if given.kinds then
    kinds = {}
    for _, kind in ipairs(given.kinds) do
      kinds[kind] = true
    end
  end
  local found = {}
  for _, wanted in ipairs(given.wanted) do
    local left = wanted[2]
    for _, rank in ipairs(given.ranks) do
      left = find_ready(found, wanted[1], rank, left, kinds)
    end
  end
  table.sort(found, function(a, b)
    if a[3] ~= b[3] then
      return a[3] < b[3]
    end
    return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
  end)
  local taken = {}
  for i, entry in ipairs(found) do
    taken[i] = take_up(get(entry[2]:sub(17)))
  end
  return taken
end

-- A replica of an older version, which does not keep this index, may have left rows in it.
function operations.expired()
  local found = call(
    'ZRANGE', prefix .. 'expiring', '-inf', number(now), 'BYSCORE', 'LIMIT', 0, given.most,
    'WITHSCORES')
  local taken = {}
  for i = 1, #found, 2 do
    local row = get(found[i]:sub(17))
    if row and expires_at(row) == tonumber(found[i + 1]) then
      taken[#taken + 1] = take_up(row)
    else
      call('ZREM', prefix .. 'expiring', found[i])
    end
  end
  return taken
end

function operations.next_due()
  local first = false
  for _, sink in ipairs(given.sinks) do
    for _, rank in ipairs(RANKS) do
      local at = tonumber(call('ZRANGE', lane(sink, rank), 0, 0, 'WITHSCORES')[2] or nil)
      if at and (not first or at < first) then
        first = at
      end
    end
  end
  return first
end

local function release(key, epoch)
  local row = get(key)
  if not row or row[STATE] ~= 'claimed' or row[EPOCH] ~= epoch or row[OWNER] ~= given.owner then
    return
  end
  local new = copy(row)
  if row[DOUBTFUL] then
    new[OWNER], new[LEASE_UNTIL], new[UPDATED] = false, now, now
  elseif row[ATTEMPTS] == 0 and not row[SIZE] and not row[DUE] then
    return remove(row)
  else
    new[STATE], new[DUE] = 'scheduled', now
    rest(new)
  end
  put(new)
end

function operations.release()
  each(given.claims, release)
end

local function reschedule(key)
  local row = get(key)
  if not row or row[STATE] ~= 'dead' or not row[SIZE] then
    return false
  end
  local new = copy(row)
  new[STATE], new[EPOCH], new[DUE] = 'scheduled', row[EPOCH] + 1, given.due
  new[ATTEMPTS], new[FIRST_AT], new[UPDATED] = 0, false, now
  new[REASON], new[REASON_TEXT] = false, false
  put(new)
  return true
end

function operations.reschedule()
  return each(given.keys, reschedule)
end

-- Ends the leases of an owner's claims.
function operations.end_claims()
  for _, claimed in ipairs(given.claims) do
    local row = get(claimed[1])
    if row and row[STATE] == 'claimed' and row[EPOCH] == claimed[2]
      and row[OWNER] == given.owner and row[LEASE_UNTIL] > now then
      local new = copy(row)
      new[LEASE_UNTIL] = now
      put(new)
    end
  end
end

-- Looking, upkeep ------------------------------------------------------------------------------

-- A row as it is sent, with its message.
local function shown(row)
  return {row, row[SIZE] and call('GET', prefix .. 'blob:' .. row[KEY])}
end

function operations.lookup()
  return each(given.keys, function(key)
    local row = get(key)
    return row and shown(row)
  end)
end

-- A chunk of the keys of open, dead or final rows, from a key or a rank on.
function operations.keys()
  if given.index == 'ended' then
    return call('ZRANGE', prefix .. 'ended', given.from, given.from + CHUNK - 1)
  end
  local from = given.from and '(' .. given.from or '-'
  return call('ZRANGE', prefix .. given.index, from, '+', 'BYLEX', 'LIMIT', 0, CHUNK)
end

-- How many final rows last changed before a time: the rank of the first that changed since.
function operations.rank()
  return call('ZCOUNT', prefix .. 'ended', '-inf', '(' .. number(given.since))
end

-- Drops a chunk of final rows last changed before a time; how many.
function operations.purge()
  local ended = call(
    'ZRANGE', prefix .. 'ended', '-inf', '(' .. number(given.older_than), 'BYSCORE',
    'LIMIT', 0, CHUNK)
  for _, key in ipairs(ended) do
    remove(get(key))
  end
  return #ended
end

function operations.stats()
  local counted = {}
  local tally = call('HGETALL', prefix .. 'tally')
  for i = 1, #tally, 2 do
    local size = call('HGET', prefix .. 'bytes', tally[i])
    counted[#counted + 1] = {tally[i], tonumber(tally[i + 1]), tonumber(size or '0')}
  end
  return {counted, now}
end
