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

-- Fields of a fact.
local VALUE, UNTIL, AT, BLOB = 1, 2, 3, 4

local operations = {}

-- What is left to write once an operation is done.
local function finish()
end
