// Where commands reach the server: HTTP as this page, gRPC at the port that the session reports.
export const tls = location.protocol === 'https:';
let port = '';
export const setGRPCPort = number => { port = number; };
export const grpc = () => `${location.hostname}:${port}`;
