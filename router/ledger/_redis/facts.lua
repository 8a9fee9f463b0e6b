-- Facts, rates and progress (a hash).

local CHUNK = 1000

local function drop(scope, member)
  local scope_key = prefix .. 'fact:' .. scope
  local dropped = call('HDEL', scope_key, member)
  call('ZREM', prefix .. 'fact-ends', place(scope, member))
  drop_grant(scope, member)
  if call('EXISTS', scope_key) == 0 then
    call('ZREM', prefix .. 'scopes', scope)
  end
  return dropped
end

-- Every fact of a scope for which `wanted(fact)` holds, added to a list.
local function collect(found, scope, wanted)
  local members = call('HGETALL', prefix .. 'fact:' .. scope)
  for i = 1, #members, 2 do
    local fact = cmsgpack.unpack(members[i + 1])
    if wanted(fact) then
      found[#found + 1] = {scope, members[i], fact[VALUE], fact[UNTIL], fact[AT], fact[BLOB]}
    end
  end
end

function operations.facts()
  local found = {}
  for _, scope in ipairs(given.scopes) do
    collect(found, scope, function(fact) return is_live(fact[UNTIL]) end)
  end
  return found
end

function operations.changes()
  local found = {}
  local first = '[' .. given.prefix
  local last = given.prefix == '' and '+' or '(' .. given.prefix .. '\255'
  for _, scope in ipairs(call('ZRANGEBYLEX', prefix .. 'scopes', first, last)) do
    collect(found, scope, function(fact) return fact[AT] >= given.since end)
  end
  return found
end

function operations.put_facts()
  for _, new in ipairs(given.facts) do
    local scope, member = new[1], new[2]
    local fact = {new[3], new[4], now, new[5]}
    local stored = scope:sub(1, 7) == 'cancel:' and fact_of(scope, member)
    if stored then  -- a cancel mark only ever grows
      local old, value = tonumber(stored[VALUE]), tonumber(fact[VALUE])
      if old and (not value or old > value) then
        fact[VALUE] = stored[VALUE]
      end
      if fact[UNTIL] then
        fact[UNTIL] = stored[UNTIL] and math.max(fact[UNTIL], stored[UNTIL])
      end
    end
    put_fact(scope, member, fact)
  end
end

function operations.drop_facts()
  each(given.members, drop)
end

-- How many places of a bucket were granted within a window and have not ended.
local function taken_of(bucket, window)
  local grants, ends = prefix .. 'grants:' .. bucket, prefix .. 'grant-ends:' .. bucket
  local ended
  repeat
    ended = call('ZRANGE', ends, '-inf', number(now), 'BYSCORE', 'LIMIT', 0, CHUNK)
    if #ended > 0 then
      call('ZREM', grants, unpack(ended))
      call('ZREM', ends, unpack(ended))
    end
  until #ended < CHUNK
  return call('ZCOUNT', grants, '(' .. number(now - window), '+inf')
end

local function admit(bucket, member, limit, window)
  local taken = taken_of(bucket, window)
  local stored = fact_of(bucket, member)
  if stored and is_live(stored[UNTIL]) then
    return {stored[VALUE] == GRANTED, taken}
  end
  local granted = taken < limit
  put_fact(bucket, member, {granted and GRANTED or REFUSED, now + window, now, false})
  return {granted, granted and taken + 1 or taken}
end

function operations.admit()
  return each(given.asks, admit)
end

-- Counts what was granted before grants were counted, a chunk of scopes; the last of them.
function operations.adopt_grants()
  local from = given.from and '(' .. given.from or '-'
  local scopes = call('ZRANGE', prefix .. 'scopes', from, '+', 'BYLEX', 'LIMIT', 0, CHUNK)
  for _, scope in ipairs(scopes) do
    local members = call('HGETALL', prefix .. 'fact:' .. scope)
    for i = 1, #members, 2 do
      local fact = cmsgpack.unpack(members[i + 1])
      if fact[VALUE] == GRANTED then
        put_grant(scope, members[i], fact)
      end
    end
  end
  return scopes[#scopes] or false
end

function operations.take()
  local scope, n, per_second, burst = given.scope, given.n, given.per_second, given.burst
  local stored = fact_of(scope, '')
  local tokens, at = burst, now
  if stored and is_live(stored[UNTIL]) then
    local had, since = stored[VALUE]:match('(%S+) (%S+)')
    tokens, at = tonumber(had), tonumber(since)
  end
  tokens = math.min(burst, tokens + math.max(0, now - at) * per_second) - n
  at = math.max(now, at)
  local full_at = at + math.max(0, burst - tokens) / per_second
  put_fact(scope, '', {number(tokens) .. ' ' .. number(at), full_at, at, false})
  return math.max(0, -tokens / per_second)
end

function operations.progress()
  return each(given.fields, function(field)
    local offset = call('HGET', prefix .. 'progress', field)
    return offset and tonumber(offset)
  end)
end

function operations.put_progress()
  for _, new in ipairs(given.offsets) do
    local field, offset = new[1], new[2]
    local stored = call('HGET', prefix .. 'progress', field)
    if not stored or tonumber(stored) < offset then
      call('HSET', prefix .. 'progress', field, number(offset))
    end
  end
end

-- Drops facts that have ended, a chunk of them; how many.
function operations.purge()
  local ended = call(
    'ZRANGE', prefix .. 'fact-ends', '-inf', number(now), 'BYSCORE', 'LIMIT', 0, CHUNK)
  for _, packed in ipairs(ended) do
    local fact = cmsgpack.unpack(packed)
    drop(fact[1], fact[2])
  end
  return #ended
end
