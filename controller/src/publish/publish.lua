-- Publishes one thing, in one step, for the leader only.
--
-- KEYS: 1 leader, 2 epoch, then the keys that are written
-- ARGV: 1 our token, 2 our epoch, 3 what, then its arguments
--
-- Answers 'ok', or why the caller must stop: 'leader' (someone else leads, or nobody), 'epoch' (it is another reign).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 'leader'
end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 'epoch'
end

local what = ARGV[3]
if what == 'delta' then
  -- ARGV: 4 entry id (epoch-seq), 5 field, 6 envelope, 7 channel, 8 oldest id to keep
  -- Redis refuses an id that is not above the last one, so the log cannot be written twice or out of order.
  redis.call('XADD', KEYS[3], 'MINID', '~', ARGV[8], ARGV[4], ARGV[5], ARGV[6])
  redis.call('PUBLISH', ARGV[7], ARGV[6])
elseif what == 'metrics' then
  -- ARGV: 4 frame, 5 channel, 6 expiry in seconds
  redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[6])
  redis.call('PUBLISH', ARGV[5], ARGV[4])
elseif what == 'snapshot' then
  -- ARGV: 4 snapshot, 5 frame, 6 expiry in seconds, 7 heartbeat, 8 its channel
  redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[6])
  redis.call('SET', KEYS[4], ARGV[5], 'EX', ARGV[6])
  -- Wakes those who wait for the snapshot.
  redis.call('PUBLISH', ARGV[8], ARGV[7])
elseif what == 'heartbeat' then
  -- ARGV: 4 heartbeat, 5 channel
  redis.call('PUBLISH', ARGV[5], ARGV[4])
end
return 'ok'
