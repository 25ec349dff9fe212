module millrace.test/prometheus_names

go 1.25.0

require (
	github.com/prometheus/common v0.70.1
	github.com/prometheus/otlptranslator v1.0.0
)

require (
	github.com/prometheus/client_model v0.6.2 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
