// Where LiteRT.js is: beside the page, or, where npm could not fetch it for the export, on a CDN.

export * from './litert/index.js';
export const PLACE = './litert/';
export const VERSION = '0';
