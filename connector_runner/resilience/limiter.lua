-- One sink's limits in one atomic step, on this server's clock: GCRA (a leaky bucket kept as one instant),
-- slots for requests in flight, and a pause that the sink asked for.
--
-- KEYS[1]  hash: tat (theoretical arrival time, us), factor (share of the rate that is used, per mille),
--          cut_at and raised_at (us), pause (us), low (us)
-- KEYS[2]  sorted set: holder -> the instant its slot ends (us)
-- ARGV[1]  acquire | restore | refund | release | cut
--
-- A missing key is an empty bucket and slots that nobody knows: nothing is granted before they were restored.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local FULL, FLOOR, RAISE, RAISE_EVERY, CUT_EVERY = 1000, 10, 50, 10000000, 1000000
local KEPT_MS = 86400000

local function number(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or '')
end

local function keep()
  redis.call('PEXPIRE', KEYS[1], KEPT_MS)
end

-- acquire: ARGV = op, interval_us, burst, concurrency, slot_ttl_us, holder, want, latest tat this caller saw
-- answers {granted, wait_us, reason, tat}
if ARGV[1] == 'acquire' then
  local interval, burst, concurrency = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  local ttl, holder, want, seen = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
  local pause = number('pause') or 0
  local tat = number('tat')
  if not tat then
    return {0, 0, 'lost', '0'}
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if not redis.call('ZSCORE', KEYS[2], holder) and redis.call('ZCARD', KEYS[2]) >= concurrency then
    local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
    return {0, math.max(tonumber(first[2]) - now, 0), 'slots', '0'}
  end
  redis.call('ZADD', KEYS[2], now + ttl, holder)
  redis.call('PEXPIRE', KEYS[2], math.ceil(ttl / 1000) + 1000)

  local factor = number('factor') or FULL
  if factor < FULL then
    local raised = number('raised_at') or now
    local steps = math.floor((now - raised) / RAISE_EVERY)
    if steps > 0 then
      factor = math.min(FULL, factor + steps * RAISE)
      redis.call('HSET', KEYS[1], 'factor', factor, 'raised_at', raised + steps * RAISE_EVERY)
    end
    interval = math.ceil(interval * FULL / factor)
  end

  -- Redis may have restarted from an older snapshot than what this caller was granted from.
  tat = math.max(tat, seen)
  local granted, wait = 0, 0
  local tolerance = (burst - 1) * interval
  if pause > now then
    wait = pause - now
  elseif tat > now + tolerance then
    wait = tat - tolerance - now
  else
    if tat < now + concurrency * interval then
      -- So empty that grants given back later may have been regained by then.
      redis.call('HSET', KEYS[1], 'low', string.format('%d', now))
    end
    granted = math.min(want, math.floor((now + tolerance - math.max(tat, now)) / interval) + 1)
    tat = math.max(tat, now) + granted * interval
  end
  redis.call('HSET', KEYS[1], 'tat', string.format('%d', tat))
  keep()
  local reason = 'ok'
  if granted == 0 then
    reason = pause > now and 'paused' or 'rate'
  end
  return {granted, wait, reason, string.format('%d', tat)}
end

-- restore: ARGV = op, interval_us, burst, slot_ttl_us, then holder and remaining us of each slot in use.
-- Does nothing where somebody restored before.
if ARGV[1] == 'restore' then
  if number('tat') then
    return 0
  end
  for at = 5, #ARGV, 2 do
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[at + 1]), ARGV[at])
  end
  redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[4]) / 1000) + 1000)
  redis.call('HSET', KEYS[1], 'tat', string.format('%d', now + tonumber(ARGV[3]) * tonumber(ARGV[2])))
  keep()
  return 1
end

-- refund: ARGV = op, us, age_us. Gives back what was granted and not used, less what the bucket may have regained
-- since: nothing while it was never low.
if ARGV[1] == 'refund' then
  local tat = number('tat')
  if tat then
    local whole, age = tonumber(ARGV[2]), tonumber(ARGV[3])
    if (number('low') or 0) > now - age or tat - whole < now then
      whole = math.max(0, whole - age)
    end
    redis.call('HSET', KEYS[1], 'tat', string.format('%d', tat - whole))
    keep()
  end
  return 1
end

-- release: ARGV = op, holder
if ARGV[1] == 'release' then
  return redis.call('ZREM', KEYS[2], ARGV[2])
end

-- cut: ARGV = op, pause_us. The sink said: too fast. Halve the rate once a second at most, and pause.
if ARGV[1] == 'cut' then
  local until_ = now + tonumber(ARGV[2])
  if until_ > (number('pause') or 0) then
    redis.call('HSET', KEYS[1], 'pause', string.format('%d', until_))
  end
  local cut_at = number('cut_at') or 0
  if now - cut_at >= CUT_EVERY then
    local factor = math.max(FLOOR, math.floor((number('factor') or FULL) / 2))
    redis.call('HSET', KEYS[1], 'factor', factor, 'cut_at', string.format('%d', now), 'raised_at',
      string.format('%d', now))
  end
  keep()
  return number('factor') or FULL
end

return redis.error_reply('unknown operation')
