-- Gives up the lead if it is still ours, and tells those who stand by.
--
-- KEYS: 1 leader; ARGV: 1 our token, 2 the channel for requests, which standbys listen on as well
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', ARGV[2], '')
  return 1
end
return 0
