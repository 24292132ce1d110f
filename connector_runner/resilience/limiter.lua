-- One sink's limits in one atomic step, on this server's clock: GCRA (a leaky bucket kept as one instant), slots for
-- requests in flight, quotas of the minute and the day on the clock, and what the sink asked for.
--
-- KEYS[1]  hash: tat (theoretical arrival time, us), factor (share of the rate that is used, per mille),
--          cut_at and raised_at (us), pause (us), low (us); spread (us between requests), left (requests) and
--          spread_until (us), which is what the sink said remains of an allowance of its own
-- KEYS[2]  sorted set: holder -> the instant its slot ends (us)
-- KEYS[3]  hash: of each period, named m or d and the second at which it begins, u... granted and b... booked
-- ARGV[1]  acquire | restore | booked | refund | release | cut | learn
--
-- A missing key is an empty bucket, slots that nobody knows, and counts that nobody knows: nothing is granted before
-- they were restored. No more is granted in a period than was booked for it where it cannot be lost.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local FULL, FLOOR, RAISE, RAISE_EVERY, CUT_EVERY = 1000, 10, 50, 10000000, 1000000
local KEPT_MS = 86400000
local KEPT_S = { m = 600, d = 200000 }

local function number(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or '')
end

local function whole(value)
  return string.format('%d', value)
end

local function keep()
  redis.call('PEXPIRE', KEYS[1], KEPT_MS)
end

local function pause_until(instant)
  if instant > (number('pause') or 0) then
    redis.call('HSET', KEYS[1], 'pause', whole(instant))
  end
end

-- The periods in which the sink may count a request that is granted now: its clock, and the time that the request
-- takes, may differ from ours by the guard. Nil where the caller's days are not those of this clock.
-- ARGV from 10: requests a minute, requests a day (0: no limit), guard in us, beginnings of days in seconds.
local function periods()
  local per_minute, per_day, guard = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
  local found = {}
  local function add(id, limit, start, ends)
    if #found == 0 or found[#found].id ~= id then
      found[#found + 1] = { id = id, limit = limit, start = start, ends = ends }
    end
  end
  if per_minute > 0 then
    for _, at in ipairs({ now - guard, now + guard }) do
      local start = math.floor(at / 60000000) * 60
      add('m' .. whole(start), per_minute, start, start + 60)
    end
  end
  if per_day > 0 then
    for _, at in ipairs({ now - guard, now + guard }) do
      local known = false
      for n = 13, #ARGV - 1 do
        local start, ends = tonumber(ARGV[n]), tonumber(ARGV[n + 1])
        if at >= start * 1000000 and at < ends * 1000000 then
          add('d' .. whole(start), per_day, start, ends)
          known = true
        end
      end
      if not known then
        return nil
      end
    end
  end
  return found
end

-- acquire: ARGV = op, interval_us, burst, concurrency, slot_ttl_us, holder, want, latest tat this caller saw, slots
-- that it leaves to others, ...
-- Who goes behind others states a smaller burst and quota than there is; with a burst below one it gets a grant only
-- when the bucket has been full for that part of an interval, which those before it do not let happen.
-- answers {granted, wait_us, reason, tat}; with the reason book also the period, what is booked of it (-1: lost),
-- and the seconds at which it begins and ends
if ARGV[1] == 'acquire' then
  local base, burst, concurrency = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  local ttl, holder, want, seen = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
  local spare, guard = tonumber(ARGV[9]), tonumber(ARGV[12])
  local pause = number('pause') or 0
  local tat = number('tat')
  if not tat then
    return {0, 0, 'lost', '0'}
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if not redis.call('ZSCORE', KEYS[2], holder) and redis.call('ZCARD', KEYS[2]) >= concurrency - spare then
    local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
    return {0, math.max(tonumber(first[2]) - now, 0), 'slots', '0'}
  end
  redis.call('ZADD', KEYS[2], now + ttl, holder)
  redis.call('PEXPIRE', KEYS[2], math.ceil(ttl / 1000) + 1000)

  local interval = base
  local factor = number('factor') or FULL
  if factor < FULL then
    local raised = number('raised_at') or now
    local steps = math.floor((now - raised) / RAISE_EVERY)
    if steps > 0 then
      factor = math.min(FULL, factor + steps * RAISE)
      redis.call('HSET', KEYS[1], 'factor', factor, 'raised_at', whole(raised + steps * RAISE_EVERY))
    end
    interval = math.ceil(base * FULL / factor)
  end
  local left = nil
  local spread_until = number('spread_until') or 0
  if spread_until > now then
    interval = math.max(interval, number('spread'))
    left = number('left')
    if left <= 0 then
      pause = math.max(pause, spread_until)
    end
  end

  -- Redis may have restarted from an older snapshot than what this caller was granted from.
  tat = math.max(tat, seen)
  local granted, wait, reason = 0, 0, 'ok'
  -- Of the full rate also while it is slower: what is in the bucket already was put there at another rate.
  local tolerance = (burst - 1) * base
  if pause > now then
    wait, reason = pause - now, 'paused'
  elseif tat > now + tolerance then
    wait, reason = tat - tolerance - now, 'rate'
  else
    granted = math.min(want, math.floor((now + tolerance - math.max(tat, now + math.min(tolerance, 0))) / interval) + 1,
      left or want)
  end

  local counted = {}
  if granted > 0 and (ARGV[10] ~= '0' or ARGV[11] ~= '0') then
    counted = periods()
    if not counted then
      return {0, 1000000, 'closed', '0'}
    end
    for _, period in ipairs(counted) do
      local used = tonumber(redis.call('HGET', KEYS[3], 'u' .. period.id) or '')
      local booked = tonumber(redis.call('HGET', KEYS[3], 'b' .. period.id) or '')
      if used and used >= period.limit then
        granted, reason = 0, 'quota'
        wait = math.max(wait, period.ends * 1000000 + guard - now)
      elseif granted > 0 then
        if not used or not booked or used >= booked then
          return {0, 0, 'book', '0', period.id, booked or -1, period.start, period.ends}
        end
        granted = math.min(granted, booked - used)
      end
    end
  end
  if granted > 0 then
    if tat < now + concurrency * base then
      -- So empty that grants given back later may have been regained by then.
      redis.call('HSET', KEYS[1], 'low', whole(now))
    end
    tat = math.max(tat, now) + granted * interval
    if left then
      redis.call('HSET', KEYS[1], 'left', left - granted)
    end
    for _, period in ipairs(counted) do
      redis.call('HINCRBY', KEYS[3], 'u' .. period.id, granted)
    end
  end
  redis.call('HSET', KEYS[1], 'tat', whole(tat))
  keep()
  return {granted, wait, reason, whole(tat)}
end

-- restore: ARGV = op, interval_us, burst, slot_ttl_us, pause_us, factor, us since it was raised, then holder and
-- remaining us of each slot in use. Does nothing where somebody restored before.
if ARGV[1] == 'restore' then
  if number('tat') then
    return 0
  end
  for at = 8, #ARGV, 2 do
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[at + 1]), ARGV[at])
  end
  redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[4]) / 1000) + 1000)
  redis.call('HSET', KEYS[1], 'tat', whole(now + tonumber(ARGV[3]) * tonumber(ARGV[2])))
  pause_until(now + tonumber(ARGV[5]))
  if tonumber(ARGV[6]) < FULL then
    redis.call('HSET', KEYS[1], 'factor', math.max(FLOOR, tonumber(ARGV[6])), 'raised_at',
      whole(now - tonumber(ARGV[7])))
  end
  keep()
  return 1
end

-- booked: ARGV = op, period, how many may have been granted in it before, how many may be now.
if ARGV[1] == 'booked' then
  for _, name in ipairs({ 'u', 'b' }) do
    local value = tonumber(name == 'u' and ARGV[3] or ARGV[4])
    local known = tonumber(redis.call('HGET', KEYS[3], name .. ARGV[2]) or '')
    redis.call('HSET', KEYS[3], name .. ARGV[2], whole(math.max(known or 0, value)))
  end
  for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
    local start = tonumber(string.sub(field, 3))
    if now / 1000000 > start + KEPT_S[string.sub(field, 2, 2)] then
      redis.call('HDEL', KEYS[3], field)
    end
  end
  redis.call('PEXPIRE', KEYS[3], 2 * KEPT_MS)
  return 1
end

-- refund: ARGV = op, us, age_us, count, 1 if the age is sure enough to tell in which period it was counted,
-- four of no meaning, ...
-- Gives back what was granted and not used, less what the bucket may have regained since: nothing while it was
-- never low.
if ARGV[1] == 'refund' then
  local tat = number('tat')
  local age = tonumber(ARGV[3])
  if tat then
    local back = tonumber(ARGV[2])
    if (number('low') or 0) > now - age or tat - back < now then
      back = math.max(0, back - age)
    end
    redis.call('HSET', KEYS[1], 'tat', whole(tat - back))
    keep()
  end
  if ARGV[5] == '1' then
    now = now - age
    for _, period in ipairs(periods() or {}) do
      local used = tonumber(redis.call('HGET', KEYS[3], 'u' .. period.id) or '')
      if used and now >= period.start * 1000000 and now < period.ends * 1000000 then
        redis.call('HSET', KEYS[3], 'u' .. period.id, math.max(0, used - tonumber(ARGV[4])))
      end
    end
  end
  return 1
end

-- release: ARGV = op, holder
if ARGV[1] == 'release' then
  return redis.call('ZREM', KEYS[2], ARGV[2])
end

-- cut: ARGV = op, pause_us. The sink said: too fast. Halve the rate once a second at most, and pause.
if ARGV[1] == 'cut' then
  pause_until(now + tonumber(ARGV[2]))
  local cut_at = number('cut_at') or 0
  if now - cut_at >= CUT_EVERY then
    local factor = math.max(FLOOR, math.floor((number('factor') or FULL) / 2))
    redis.call('HSET', KEYS[1], 'factor', factor, 'cut_at', whole(now), 'raised_at', whole(now))
  end
  keep()
  return number('factor') or FULL
end

-- learn: ARGV = op, requests that remain of the sink's own allowance (-1: not said), us until it is renewed, pause_us.
if ARGV[1] == 'learn' then
  local remaining, reset = tonumber(ARGV[2]), tonumber(ARGV[3])
  pause_until(now + tonumber(ARGV[4]))
  if remaining >= 0 and reset > 0 then
    -- The answer does not count what others have under way.
    local left = remaining - math.max(redis.call('ZCOUNT', KEYS[2], now, '+inf') - 1, 0)
    local before = number('spread_until') or 0
    if before > now and math.abs(before - now - reset) < 1000000 then
      left = math.min(left, number('left'))
    end
    if left > 0 then
      redis.call('HSET', KEYS[1], 'spread', whole(math.ceil(reset / left)), 'left', left, 'spread_until',
        whole(now + reset))
    else
      pause_until(now + reset)
    end
  end
  keep()
  return math.max((number('pause') or 0) - now, 0)
end

return redis.error_reply('unknown operation')
