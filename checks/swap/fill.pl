#!/usr/bin/perl
# fill.pl PAGES: fills so many pages of memory, each with what follows from its number, then reads them all. Says on
# the console what it does.
use strict;
use warnings;

my ($count) = @ARGV;
open my $console, '>', '/dev/console' or die;
$console->autoflush(1);
sub say_it { print $console "fill: @_\n" }

sub page_of { my ($n) = @_; return pack('L2', $n, ($n * 2654435761) & 0xffffffff) x 512 }

sub swap_used {
    open my $swaps, '<', '/proc/swaps' or die;
    my $used = 0;
    while (<$swaps>) { $used += (split)[3] if m{^/dev/nbd} }
    return $used;
}

my @pages;
for my $n (0 .. $count - 1) {
    push @pages, page_of($n);
    say_it('wrote', $n, 'pages, swap', swap_used(), 'KiB') if $n % 8192 == 0;
}
say_it('wrote all, swap', swap_used(), 'KiB');
for my $n (0 .. $count - 1) {
    say_it('read', $n, 'pages') if $n % 8192 == 0;
    next if $pages[$n] eq page_of($n);
    say_it('page', $n, 'is WRONG');
    exit 1;
}
say_it('all', $count, 'pages are right, swap', swap_used(), 'KiB');
# At once: an orderly end would read all pages from the server again.
kill 'KILL', $$;
