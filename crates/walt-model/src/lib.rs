//! The words of the product as types: names, sets, settings, ranges, formats, server.conf, sentences.
