// A log as a manager wrote it before reports told of ways and talks could be re-introduced
// (commit 2874fad, `WrittenLog`: two terminals, one talk): what was written then has to verify for
// ever. The manager's key is that of `WrittenLog`, so that it verifies with its public key.

/** The text of it, as `nakodo log export` wrote it. */
export const FORMER_LOG = [
  'nakodo-log 1',
  [
    'head pgAAAQgCWCDxvoQbSKzQfeqmMm3QnfAykAR6epG8-pxM-SAF29lCbwMABFggAAAAAAAAAAAAAAAAAAA',
    'AAAAAAAAAAAAAAAAAAAAAAAAFWEBkAVuuRolPG3h3ZzAFUhpktU7uzvG7mNU2aKOnbB4psCW2rx_oooKaaD1',
    '389sNL5LIu4kNkGoCDiNgvyCbcOIF',
  ].join(''),
  [
    'entry qAABAQECGwAAAaMYXFAAA1ggAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAQh4IDZvYW',
    'tjYW41YjJyYmlrejcyeGRneWN4M3VwNGJmZW91CWVURVJNMQqiAFgg5ftmi3xsaWzFRGivcThsE6MRKQTSj4',
    'JRzFJSSgVkYL8BWCC7M1GOQQs5fW-JZ_LeEu1NfVDF0bXoMKwUr8pJe99a4A',
  ].join(''),
  [
    'entry qAABAQICGwAAAaMYXFAAA1ggMTOsajAm9yvZmCw0FKA9YDp8yWX8iqNSiubqOnEAWPcEAQh4IDZ1cG',
    'xoYWh3bzNqdXdsYWltejJyandsZGRkdDRxenZ1CWVURVJNMwqiAFggH_OvuFEmlm1UIszCP6gAeSKetPuwzR',
    'iFAirkzVGH9P8BWCDjKfF3GQ2BC1v6Cd6LC0aNMvca7ZueEjh5GIgDm-eMnQ',
  ].join(''),
  [
    'entry sAABAQMCGwAAAaMYXFAAA1ggW2GZc2-7VpHlPFgnTZNkOoeEA8bZEKUMQfppdQqa0V8EAgh4GnVhcz',
    'RqdXVrajNiMmdnZHVvZjRpeWxwdTV1CXggNm9ha2NhbjViMnJiaWt6NzJ4ZGd5Y3gzdXA0YmZlb3UKeCA2dX',
    'BsaGFod28zanV3bGFpbXoycmp3bGRkZHQ0cXp2dQtlVEVSTTEMZVRFUk0zDWRmaWxlDhg8EFhcpwABAXgacj',
    'VrcGpoc3UyczRqb3hhNzVjcmh3M2FrMm0CeCA2b2FrY2FuNWIycmJpa3o3MnhkZ3ljeDN1cDRiZmVvdQNlVE',
    'VSTTEEZVRFUk0zBWRmaWxlBqEAGDwRWEA7c--AgP2qdib0YKrnTR8Ahn6BicPUDcj0BxBybSP6Y-yWKWrhVC',
    'o7XDFl47N0ET9LzNr-v5eSeedjgrxK90oBEljJpwABAXgaYTNkdXlsaGp2dnNocmtoY2l2bGtuaXVlMmUCeB',
    'prbXU1ejR2eGVuY25xMmRtdnl5b2FpbzY3bQNYIHmCY7Z4Gnu3mhzTdoSg-Zzk7IgI5qMKPyk1boEGnYU2BH',
    'ggNnVwbGhhaHdvM2p1d2xhaW16MnJqd2xkZGR0NHF6dnUFeCA2b2FrY2FuNWIycmJpa3o3MnhkZ3ljeDN1cD',
    'RiZmVvdQZYIKtZL-Q_8MBG4LRM0wv_twpPnE9Ap427IYT5oh5SKpMBE1hAxskkD0g0P5uNL-SA0EmiejcJf1',
    '-mew4vFofkxL3dkWN26zlO9260ipRW39Zgfw2raNeGG4kmNCkr2iZoCkt2Cg',
  ].join(''),
  [
    'entry rAABAQQCGwAAAaMYXFAAA1ggRwInKD4VvjNtJu1Fq6-9poLToobm8U3IenZvs2eVMv8EBAh4GnVhcz',
    'RqdXVrajNiMmdnZHVvZjRpeWxwdTV1CQEKGHgMWGemAAEBeBp5aXFuajVveWFieWk3dGp3cHhmcHN1d3N6NA',
    'J4GnVhczRqdXVrajNiMmdnZHVvZjRpeWxwdTV1A3ggNm9ha2NhbjViMnJiaWt6NzJ4ZGd5Y3gzdXA0YmZlb3',
    'UEAQWhABh4DVhAtR2pSRbNDjGiV9XBlKLzFnOfk4Ke7TXoORvvZiLffTLNzpQFn8mWqBu74lQf4QbgNSHeHu',
    'dfEkUWgeVVmu47AA5YyacAAQF4GndxbG5seXNseWFudGE0c213ZnZ6M2JpN3p5AngabDYzcmh6a2g0NWg1N3',
    'ZsdHdmeHJ4NmJpcWkDWCAZxkJsOjOSloFBGkCEA7pC5CefWvKS6jM6YPZrJWs0CAR4IDZ1cGxoYWh3bzNqdX',
    'dsYWltejJyandsZGRkdDRxenZ1BXggNm9ha2NhbjViMnJiaWt6NzJ4ZGd5Y3gzdXA0YmZlb3UGWCCrWS_kP_',
    'DARuC0TNML_7cKT5xPQKeNuyGE-aIeUiqTAQ9YQCE0UNuP62FsBwXRsyi_hJMhLTbmGOIo54nrV-46Q5087I',
    'FmTWkiOwHTGMirqfe3pSbgG7dtuh6cVEbC06HlugM',
  ].join(''),
  [
    'entry rQABAQUCGwAAAaMYXFAAA1gguXBaIgtfZdBJjo0dOW2mK44TvRj4LInLYoHKcNxYriYEBwh4GnVhcz',
    'RqdXVrajNiMmdnZHVvZjRpeWxwdTV1CQAKAAsFDAANAA4JDwM',
  ].join(''),
  [
    'entry qAABAQYCGwAAAaMYXFAAA1ggoismUFV2fAqTBoe5rngM1wgYfsmH9ZmJ9OObPFfA4yAECAh4GnVhcz',
    'RqdXVrajNiMmdnZHVvZjRpeWxwdTV1CQAKAA',
  ].join(''),
  [
    'entry rQABAQcCGwAAAaMYXFAAA1ggbwzdYtpmiHlKZG5_GVW5XXTzY-CCQLqyruGT_hEopxEEBwh4GnVhcz',
    'RqdXVrajNiMmdnZHVvZjRpeWxwdTV1CQEKAAsFDAANAA4JDwM',
  ].join(''),
  [
    'entry qAABAQgCGwAAAaMYXFAAA1gg9_0uxgbaCSq0vzeyMmmbKbNu15Gvsn-riIYIDJdr67sEAwh4IDZvYW',
    'tjYW41YjJyYmlrejcyeGRneWN4M3VwNGJmZW91CWVURVJNMwoD',
  ].join(''),
  '',
].join('\n');
