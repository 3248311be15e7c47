module slipway.local/shim

go 1.22
