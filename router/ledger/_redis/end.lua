
local answer = operations[ARGV[1]]()
finish()
return cmsgpack.pack(answer)
