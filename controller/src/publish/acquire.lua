-- Takes the lead if nobody has it, and begins a reign.
--
-- KEYS: 1 leader, 2 epoch, 3 log
-- ARGV: 1 our token, 2 expiry in milliseconds; where a Kubernetes Lease says who leads: 3 the epoch to take it over
--
-- Answers {1, epoch, 0} or {0, holder, milliseconds until its lease ends}.
local holder = redis.call('GET', KEYS[1])
if ARGV[3] then
  -- Whoever holds the Lease leads, whatever the key says. But only over the reign that it knew of when it made sure of
  -- the Lease: a later one is its successor's.
  if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then
    return {0, holder or '', redis.call('PTTL', KEYS[1])}
  end
-- Ours already: an earlier answer was lost on the way. It is a new reign all the same.
elseif holder and holder ~= ARGV[1] then
  return {0, holder, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])

-- Above every reign there was, also when the epoch was lost with a restart (then the clock is above it) or when the
-- clock was set back (then the epoch or the log is).
local time = redis.call('TIME')
local epoch = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
epoch = math.max(epoch, (tonumber(redis.call('GET', KEYS[2]) or '0') or 0) + 1)
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if last then
  epoch = math.max(epoch, tonumber(string.match(last[1], '^(%d+)')) + 1)
end
-- Whole digits: Lua would write 1.7e+12.
local text = string.format('%.0f', epoch)
redis.call('SET', KEYS[2], text)
return {1, text, 0}
