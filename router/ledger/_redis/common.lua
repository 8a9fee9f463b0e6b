-- What every script starts with.
--
-- KEYS[1] starts every key of the store; its hash tag keeps them in one slot of a cluster.
-- ARGV[1] names the operation, ARGV[2] the store (its uuid), ARGV[3] are the arguments as
-- MessagePack, in which `false` stands for what Python calls None. So does the answer.

local prefix = KEYS[1]
local call = redis.call

if call('HGET', prefix .. 'meta', 'uuid') ~= ARGV[2] then
  return redis.error_reply('OTHERLEDGER the store was emptied or replaced')
end

local given = cmsgpack.unpack(ARGV[3])

-- The ledger's time, in seconds; tests bring another.
local function clock()
  if given.now then
    return given.now
  end
  local time = call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local now = clock()

-- As Redis reads it: exactly.
local function number(value)
  return string.format('%.17g', value)
end

local function is_live(ends)
  return not ends or ends > now
end

local function fact_of(scope, member)
  local stored = call('HGET', prefix .. 'fact:' .. scope, member)
  return stored and cmsgpack.unpack(stored)
end

-- Facts: `fact:SCOPE` is a hash of its members, `scopes` all scopes in order, `fact-ends` the
-- facts that end, by when; `grants:SCOPE` the granted members of a bucket by when they were
-- written, `grant-ends:SCOPE` the same by when they end.

-- Fields of a fact.
local VALUE, UNTIL, AT, BLOB = 1, 2, 3, 4
local GRANTED, REFUSED = 'granted', 'refused'

local function place(scope, member)
  return cmsgpack.pack({scope, member})
end

local function put_grant(scope, member, fact)
  local ends = fact[UNTIL] and number(fact[UNTIL]) or '+inf'
  call('ZADD', prefix .. 'grants:' .. scope, number(fact[AT]), member)
  call('ZADD', prefix .. 'grant-ends:' .. scope, ends, member)
end

local function drop_grant(scope, member)
  call('ZREM', prefix .. 'grants:' .. scope, member)
  call('ZREM', prefix .. 'grant-ends:' .. scope, member)
end

local function put_fact(scope, member, fact)
  call('HSET', prefix .. 'fact:' .. scope, member, cmsgpack.pack(fact))
  call('ZADD', prefix .. 'scopes', 0, scope)
  if fact[UNTIL] then
    call('ZADD', prefix .. 'fact-ends', number(fact[UNTIL]), place(scope, member))
  else
    call('ZREM', prefix .. 'fact-ends', place(scope, member))
  end
  if fact[VALUE] == GRANTED then
    put_grant(scope, member, fact)
  else
    drop_grant(scope, member)
  end
end

local operations = {}

-- What becomes of each item, in their order; an item that is a list comes apart.
local function each(items, work)
  local answers = {}
  for i, item in ipairs(items) do
    if type(item) == 'table' then
      answers[i] = work(unpack(item))
    else
      answers[i] = work(item)
    end
  end
  return answers
end

-- What is left to write once an operation is done.
local function finish()
end
