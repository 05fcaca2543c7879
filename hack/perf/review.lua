-- For wrk: posts in turn the reviews of the file REVIEWS, which has one per line.
local bodies, next_one = {}, 0
for line in io.lines(os.getenv("REVIEWS")) do
  bodies[#bodies + 1] = line
end

wrk.method = "POST"
wrk.path = "/inject?timeout=10s"
wrk.headers["Content-Type"] = "application/json"

function request()
  next_one = next_one % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[next_one])
end

local wrong = 0
function response(status)
  if status ~= 200 then
    wrong = wrong + 1
    io.stderr:write("status " .. status .. "\n")
    if wrong > 10 then
      wrk.thread:stop()
    end
  end
end
