-- Prolongs our lease if it is still ours. KEYS: 1 leader; ARGV: 1 our token, 2 expiry in milliseconds
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
