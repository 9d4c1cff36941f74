//! Where ConfigMaps end: on the real API server.
