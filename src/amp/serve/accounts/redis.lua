-- Keys and budgets in Redis (amp.serve.accounts.redis): each operation is one script, so no two calls
-- take the same money. Amounts are whole nano-dollars below 2^53, which Lua's numbers hold exactly.
--
--   BASE:key:ID         a key: name, prefix, salt, hash, created, revoked, its limits
--   BASE:names          ID by name;  BASE:prefixes: ID by prefix
--   BASE:call:N         a call: key, begun, episode, held_dollars, held_tokens, ending
--   BASE:open:ID        open calls of a key, by the second at which their lease ends
--   BASE:sum:ID:PERIOD  sums of a day, a month or an episode, with what open calls hold

local BASE, operation, moment = KEYS[1], ARGV[1], tonumber(ARGV[2])
if not moment then
  local time = redis.call('TIME')
  moment = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local now = math.floor(moment)

local DAY = 86400
local ENDED, UNENDED = 2 * DAY, 40 * DAY
local SUMS = {'dollars', 'tokens', 'requests', 'over_dollars', 'over_tokens', 'lost_dollars'}

local function at(...)
  return BASE .. ':' .. table.concat({...}, ':')
end

local function text(number)
  return string.format('%.0f', number)
end

local function lease_end(lease)
  return string.format('%.3f', moment + lease)
end

local function row(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- The civil calendar, from days since 1970 (Howard Hinnant's algorithm).
local function day_of(moment)
  local days = math.floor(moment / DAY) + 719468
  local era = math.floor(days / 146097)
  local in_era = days - era * 146097
  local year = math.floor((in_era - math.floor(in_era / 1460) + math.floor(in_era / 36524)
    - math.floor(in_era / 146096)) / 365)
  local in_year = in_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local shifted = math.floor((5 * in_year + 2) / 153)
  local day = in_year - math.floor((153 * shifted + 2) / 5) + 1
  local month = shifted < 10 and shifted + 3 or shifted - 9
  if month <= 2 then year = year + 1 end
  return string.format('%04d-%02d-%02d', year + era * 400, month, day)
end

local function periods(call)
  local day = day_of(tonumber(call.begun))
  local found = {{day, 40 * DAY}, {string.sub(day, 1, 7), 400 * DAY}}
  if call.episode ~= '' then found[3] = {'episode ' .. call.episode, 30 * DAY} end
  return found
end

local function add(call, amounts)
  for _, period in ipairs(periods(call)) do
    local key = at('sum', call.key, period[1])
    for i, name in ipairs(SUMS) do
      if amounts[i] ~= 0 then redis.call('HINCRBY', key, name, text(amounts[i])) end
    end
    redis.call('EXPIRE', key, period[2])
  end
end

local function sums(id, period)
  local found = redis.call('HMGET', at('sum', id, period), unpack(SUMS))
  for i = 1, #SUMS do found[i] = tonumber(found[i] or 0) end
  return found
end

local function finish(number, call, ending)
  redis.call('HSET', at('call', number), 'ending', ending)
  redis.call('EXPIRE', at('call', number), ENDED)
  redis.call('ZREM', at('open', call.key), number)
end

local function expire(id)
  for _, number in ipairs(redis.call('ZRANGEBYSCORE', at('open', id), '-inf', string.format('%.3f', moment))) do
    local call = row(at('call', number))
    local held, held_tokens = tonumber(call.held_dollars), tonumber(call.held_tokens)
    finish(number, call, 'expired')
    add(call, {-held, -held_tokens, -1, 0, 0, held})
  end
end

local operations = {}

function operations.find(prefix)
  local id = redis.call('HGET', at('prefixes'), prefix)
  if not id then return {} end
  return {id, redis.call('HGETALL', at('key', id))}
end

function operations.add(name, prefix, salt, hash, ...)
  if redis.call('HEXISTS', at('names'), name) == 1 then return {'taken'} end
  local id = redis.call('INCR', at('last_key'))
  redis.call('HSET', at('names'), name, id)
  redis.call('HSET', at('prefixes'), prefix, id)
  redis.call('HSET', at('key', id), 'name', name, 'prefix', prefix, 'salt', salt, 'hash', hash,
    'created', text(now), ...)
  return {'ok'}
end

function operations.keys()
  local found = {}
  for _, id in ipairs(redis.call('HVALS', at('names'))) do
    table.insert(found, {id, redis.call('HGETALL', at('key', id))})
  end
  return found
end

function operations.revoke(id)
  redis.call('HSETNX', at('key', id), 'revoked', text(now))
  return {'ok'}
end

function operations.reserve(id, dollars, tokens, episode, lease)
  local key = row(at('key', id))
  if not key.name then return {'unknown'} end
  if key.revoked then return {'revoked', key.revoked} end
  expire(id)
  local want, want_tokens = tonumber(dollars), tonumber(tokens)
  local day = sums(id, day_of(now))
  local month = sums(id, string.sub(day_of(now), 1, 7))
  local in_episode = episode ~= '' and sums(id, 'episode ' .. episode)[1] or 0
  local looks = {
    {'dollars_per_day', day[1], want},
    {'dollars_per_month', month[1], want},
    {'tokens_per_day', day[2], want_tokens},
    {'requests_per_day', day[3], 1},
    {'max_concurrent', redis.call('ZCARD', at('open', id)), 1},
    {'episode_dollars', in_episode, want},
  }
  for _, look in ipairs(looks) do
    local most = tonumber(key[look[1]])
    if most and look[2] + look[3] > most then
      return {'refused', look[1], text(look[2]), text(look[3]), text(most), text(now)}
    end
  end
  local number = redis.call('INCR', at('last_call'))
  redis.call('HSET', at('call', number), 'key', id, 'begun', text(now), 'episode', episode,
    'held_dollars', dollars, 'held_tokens', tokens)
  redis.call('EXPIRE', at('call', number), UNENDED)
  redis.call('ZADD', at('open', id), lease_end(lease), number)
  add({key = id, begun = now, episode = episode}, {want, want_tokens, 1, 0, 0, 0})
  return {'ok', text(number)}
end

function operations.settle(number, dollars, tokens)
  local call = row(at('call', number))
  if not call.key then return {'unknown'} end
  if call.ending == 'settled' then return {'settled'} end
  local held, held_tokens = tonumber(call.held_dollars), tonumber(call.held_tokens)
  local requests, lost = 0, 0
  if call.ending then -- what was held had been given back
    if call.ending == 'expired' then lost = -held end
    held, held_tokens, requests = 0, 0, 1
  end
  local spent, spent_tokens = tonumber(dollars), tonumber(tokens)
  local over, over_tokens = math.max(0, spent - held), math.max(0, spent_tokens - held_tokens)
  finish(number, call, 'settled')
  add(call, {spent - held, spent_tokens - held_tokens, requests, over, over_tokens, lost})
  return {'ok', text(over), text(over_tokens)}
end

function operations.release(number)
  local call = row(at('call', number))
  if not call.key then return {'unknown'} end
  if not call.ending then
    finish(number, call, 'released')
    add(call, {-tonumber(call.held_dollars), -tonumber(call.held_tokens), -1, 0, 0, 0})
  end
  return {'ok'}
end

-- Only a lease that is still there goes on: what had expired was given to others.
function operations.renew(lease, ...)
  local calls = {...}
  for i = 1, #calls, 2 do
    expire(calls[i])
    redis.call('ZADD', at('open', calls[i]), 'XX', lease_end(lease), calls[i + 1])
  end
  return {'ok'}
end

function operations.spend(id)
  expire(id)
  local open = redis.call('ZRANGE', at('open', id), 0, -1)
  local today = day_of(now)
  local found = {tostring(#open)}
  for _, period in ipairs({today, string.sub(today, 1, 7)}) do
    local held, held_tokens = 0, 0
    for _, number in ipairs(open) do
      local call = row(at('call', number))
      if string.sub(day_of(tonumber(call.begun)), 1, #period) == period then
        held = held + tonumber(call.held_dollars)
        held_tokens = held_tokens + tonumber(call.held_tokens)
      end
    end
    table.insert(found, period)
    for _, amount in ipairs(sums(id, period)) do table.insert(found, text(amount)) end
    table.insert(found, text(held))
    table.insert(found, text(held_tokens))
  end
  return found
end

return operations[operation](unpack(ARGV, 3))
