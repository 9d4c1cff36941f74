// The library by which Prow matches the globs of config_updater, at Prow's version: see ../../binaries.rs.
module prow-breakglass.test/bed/zglob

go 1.22.3

require github.com/mattn/go-zglob v0.0.2
