module outrigger.dev/hack/oracle/pem

go 1.26.0
