module slipway.local/tilt

go 1.26.0

require github.com/tilt-dev/tilt v0.37.6

// As in Tilt's own go.mod: Go obeys the main module's alone. (go.sum has buildx as the checksum database does, which Tilt's own differs from.)
replace (
	github.com/emicklei/go-restful/v3 => github.com/emicklei/go-restful/v3 v3.9.0
	github.com/pkg/browser => github.com/tilt-dev/browser v0.0.1
)
