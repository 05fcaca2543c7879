module outrigger.dev/hack/node/app

go 1.26.0
