-- Digests. The fact `digest:SCOPE` names the one that took a scope's last member; its row counts
-- its members in WAITS_FOR.

local function takes_members(row, most)
  return row[KIND] == 'digest' and row[STATE] == 'scheduled' and row[EPOCH] == 0
    and row[DUE] and row[DUE] > now and row[WAITS_FOR] < most
end

-- The number after a key's.
local function next_key(key)
  local last = key:find('[^\255]\255*$')
  if not last then
    return ('\0'):rep(#key)
  end
  return key:sub(1, last - 1) .. string.char(key:byte(last) + 1) .. ('\0'):rep(#key - last)
end

local function open_digest(key, member, sink, window)
  while key == member[KEY] or get(key) do
    key = next_key(key)
  end
  local row = {}
  for i = 1, RANK do
    row[i] = false
  end
  row[KEY], row[KIND], row[STATE], row[SINK], row[FAMILY] = key, 'digest', 'scheduled', sink, key
  row[EPOCH], row[ATTEMPTS], row[WAITS_FOR], row[RANK] = 0, 0, 0, member[RANK]
  row[DUE], row[FIRST_AT], row[EVENT_TIME] = now + window, now, member[EVENT_TIME]
  row[STARTS_ON], row[EVENT_HASH], row[POSITION] = '', '', ''
  return row
end

local function add_member(digest, window, most, extend, at_most)
  digest[WAITS_FOR], digest[UPDATED] = digest[WAITS_FOR] + 1, now
  if digest[WAITS_FOR] >= most then
    digest[DUE] = now
  elseif extend and digest[WAITS_FOR] > 1 then
    local ends = now + window
    if at_most then
      ends = math.min(ends, digest[FIRST_AT] + at_most)
    end
    digest[DUE] = math.max(digest[DUE], ends)
  end
end

local function joined(digest, is_new)
  return {'joined', digest[KEY], digest[WAITS_FOR], digest[DUE] or digest[UPDATED], is_new}
end

local function joined_before(stored, member)
  if stored[STATE] == 'waiting' and stored[WAIT_ON] then
    local digest = get(stored[WAIT_ON])
    if digest and digest[KIND] == 'digest' then
      return joined(digest, false)
    end
  end
  return done(stored, member)
end

local function join(
  scope, key, member, member_blob, sink, window, most, extend, at_most, blob
)
  local stored = get(member[KEY])
  if stored then
    return joined_before(stored, member)
  end
  local pointer = fact_of('digest:' .. scope, '')
  local known = pointer and get(pointer[BLOB])
  local digest
  if known and takes_members(known, most) then
    digest = copy(known)
    add_member(digest, window, most, extend, at_most)
    put(digest)
  else
    digest = open_digest(key, member, sink, window)
    digest[SIZE] = #blob
    add_member(digest, window, most, extend, at_most)
    put(digest, blob)
  end
  member[STATE], member[EPOCH], member[DUE], member[WAIT_ON] = 'waiting', 0, false, digest[KEY]
  member[WAITS_FOR], member[STARTS_ON] = 0, ''
  insert(member, member_blob)
  put_fact('digest:' .. scope, '', {'', digest[DUE], now, digest[KEY]})
  return joined(digest, true)
end

function operations.join()
  return each(given.joins, join)
end

-- What waits on each family, in no order.
function operations.members()
  return each(given.families, function(family)
    return each(call('SMEMBERS', prefix .. 'waiting:' .. family), function(key)
      return shown(get(key))
    end)
  end)
end
