"""HTTP/1.1 over connections that are kept: requests as bytes, answers by llhttp, one pool."""
