module slipway.local/shim

go 1.26.3
