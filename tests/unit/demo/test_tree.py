"""Names, links, times and lifetimes of the tree in memory."""

import errno
import itertools
import os
import stat
from collections.abc import Callable

import pytest

from furtrace.demo.content import PAGE
from furtrace.demo.errors import TreeError
from furtrace.demo.node import Node, Owner
from furtrace.demo.tree import RENAME_EXCHANGE, RENAME_NOREPLACE, Attributes, Tree

ME = Owner(1000, 100)


@pytest.fixture
def tree() -> Tree:
    ticks = itertools.count(1_000)
    return Tree(Owner(0, 0), space=16 * PAGE, clock=lambda: next(ticks))


def file(tree: Tree, name: bytes, parent: Node | None = None) -> Node:
    return tree.create(parent or tree.root, name, 0o644, ME)


def folder(tree: Tree, name: bytes, parent: Node | None = None) -> Node:
    return tree.mkdir(parent or tree.root, name, 0o755, ME)


def names(tree: Tree, node: Node) -> list[bytes]:
    return [name for name, _entry in tree.entries(node)]


def refused(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(TreeError) as refusal:
        call()
    assert errno.errorcode[refusal.value.errno] == errno.errorcode[number]
    assert str(refusal.value) == os.strerror(number)


def test_a_new_file_has_the_owner_mode_and_times_of_its_making(tree: Tree) -> None:
    node = file(tree, b"a")
    assert (node.uid, node.gid, node.nlink, node.size, node.blocks) == (1000, 100, 1, 0, 0)
    assert node.mode == stat.S_IFREG | 0o644
    assert node.atime == node.mtime == node.ctime == node.btime
    assert tree.lookup(tree.root, b"a") is node


def test_directories_count_their_subdirectories(tree: Tree) -> None:
    one = folder(tree, b"one")
    folder(tree, b"two", one)
    assert (tree.root.nlink, one.nlink) == (3, 3)
    tree.rmdir(one, b"two")
    assert one.nlink == 2
    tree.rmdir(tree.root, b"one")
    assert (tree.root.nlink, one.nlink) == (2, 0)


def test_set_group_id_directories_pass_their_group_on(tree: Tree) -> None:
    shared = tree.mkdir(tree.root, b"shared", 0o2775, Owner(1, 7))
    assert file(tree, b"f", shared).gid == 7
    below = folder(tree, b"d", shared)
    assert below.gid == 7
    assert below.mode & stat.S_ISGID


def test_names_are_checked(tree: Tree) -> None:
    node = file(tree, b"a")
    refused(errno.ENOENT, lambda: tree.lookup(tree.root, b"b"))
    refused(errno.ENOTDIR, lambda: tree.lookup(node, b"b"))
    refused(errno.ENAMETOOLONG, lambda: file(tree, b"n" * 256))
    refused(errno.EEXIST, lambda: file(tree, b"a"))
    refused(errno.EEXIST, lambda: folder(tree, b"a"))
    refused(errno.EPERM, lambda: tree.create(tree.root, b"null", stat.S_IFCHR | 0o666, ME))
    refused(errno.ENOTDIR, lambda: tree.entries(node))
    assert names(tree, tree.root) == [b"a"]


def test_removing_checks_what_stands_there(tree: Tree) -> None:
    directory = folder(tree, b"d")
    file(tree, b"f", directory)
    refused(errno.EISDIR, lambda: tree.unlink(tree.root, b"d"))
    refused(errno.ENOTEMPTY, lambda: tree.rmdir(tree.root, b"d"))
    refused(errno.ENOTDIR, lambda: tree.rmdir(directory, b"f"))
    refused(errno.ENOENT, lambda: tree.rmdir(directory, b"g"))
    assert names(tree, directory) == [b"f"]


def test_nothing_is_made_in_a_directory_that_is_gone(tree: Tree) -> None:
    directory = folder(tree, b"d")
    tree.remember(directory)
    tree.rmdir(tree.root, b"d")
    refused(errno.ENOENT, lambda: file(tree, b"f", directory))


def test_hard_links_share_one_node(tree: Tree) -> None:
    node = file(tree, b"a")
    changed = node.ctime
    tree.link(node, tree.root, b"b")
    assert tree.lookup(tree.root, b"b") is node
    assert node.nlink == 2
    assert node.ctime > changed
    tree.unlink(tree.root, b"a")
    assert node.nlink == 1
    refused(errno.EPERM, lambda: tree.link(tree.root, tree.root, b"c"))
    refused(errno.EEXIST, lambda: tree.link(node, tree.root, b"b"))


def test_a_file_without_names_can_not_get_one_again(tree: Tree) -> None:
    node = file(tree, b"a")
    tree.opened(node)
    tree.unlink(tree.root, b"a")
    refused(errno.ENOENT, lambda: tree.link(node, tree.root, b"b"))


def test_an_unlinked_file_lives_while_it_is_open_or_known(tree: Tree) -> None:
    node = file(tree, b"a")
    tree.remember(node)
    tree.remember(node)
    tree.opened(node)
    tree.write(node, 0, b"data")
    tree.unlink(tree.root, b"a")
    tree.forget(node.ino, 2)
    assert tree.read(tree.node(node.ino), 0, 10) == b"data"
    tree.closed(node)
    refused(errno.ESTALE, lambda: tree.node(node.ino))
    assert tree.space.used == 0


def test_forgetting_counts(tree: Tree) -> None:
    node = file(tree, b"a")
    for _ in range(3):
        tree.remember(node)
    tree.unlink(tree.root, b"a")
    tree.forget(node.ino, 2)
    assert tree.node(node.ino) is node
    tree.forget(node.ino, 1)
    refused(errno.ESTALE, lambda: tree.node(node.ino))
    tree.forget(node.ino, 1)
    assert len(tree) == 1


def test_a_forgotten_file_that_has_a_name_stays(tree: Tree) -> None:
    node = file(tree, b"a")
    tree.remember(node)
    tree.forget(node.ino, 1)
    assert tree.lookup(tree.root, b"a") is node
    assert tree.node(node.ino) is node


def test_the_root_is_never_forgotten(tree: Tree) -> None:
    tree.forget(tree.root.ino, 1_000)
    assert tree.node(1) is tree.root


def test_node_numbers_are_not_used_twice(tree: Tree) -> None:
    seen = set()
    for _ in range(5):
        node = file(tree, b"a")
        seen.add(node.ino)
        tree.unlink(tree.root, b"a")
    assert len(seen) == 5


def test_rename_replaces_a_file(tree: Tree) -> None:
    old, new = file(tree, b"old"), file(tree, b"new")
    tree.write(new, 0, b"x")
    tree.rename(tree.root, b"old", tree.root, b"new")
    assert names(tree, tree.root) == [b"new"]
    assert tree.lookup(tree.root, b"new") is old
    assert new.nlink == 0
    assert tree.space.used == 0


def test_rename_moves_a_directory_and_its_link_count(tree: Tree) -> None:
    one, two = folder(tree, b"one"), folder(tree, b"two")
    moved = folder(tree, b"d", one)
    tree.rename(one, b"d", two, b"e")
    assert (one.nlink, two.nlink) == (2, 3)
    assert moved.parent is two
    assert names(tree, one) == []


def test_rename_checks_what_it_would_replace(tree: Tree) -> None:
    directory, empty, plain = folder(tree, b"d"), folder(tree, b"empty"), file(tree, b"f")
    file(tree, b"g", directory)
    root = tree.root
    refused(errno.EISDIR, lambda: tree.rename(root, b"f", root, b"empty"))
    refused(errno.ENOTDIR, lambda: tree.rename(root, b"empty", root, b"f"))
    refused(errno.ENOTEMPTY, lambda: tree.rename(root, b"empty", root, b"d"))
    refused(errno.EEXIST, lambda: tree.rename(root, b"f", directory, b"g", RENAME_NOREPLACE))
    refused(errno.ENOENT, lambda: tree.rename(root, b"f", root, b"nothing", RENAME_EXCHANGE))
    refused(errno.EINVAL, lambda: tree.rename(root, b"f", root, b"x", RENAME_NOREPLACE | RENAME_EXCHANGE))
    tree.rename(root, b"d", root, b"empty")
    assert tree.lookup(root, b"empty") is directory
    assert (empty.nlink, root.nlink) == (0, 3)
    assert tree.lookup(root, b"f") is plain


def test_a_directory_can_not_move_into_itself(tree: Tree) -> None:
    outer = folder(tree, b"outer")
    inner = folder(tree, b"inner", outer)
    other = file(tree, b"f", inner)
    refused(errno.EINVAL, lambda: tree.rename(tree.root, b"outer", inner, b"x"))
    refused(errno.EINVAL, lambda: tree.rename(tree.root, b"outer", outer, b"x"))
    refused(errno.EINVAL, lambda: tree.rename(inner, b"f", tree.root, b"outer", RENAME_EXCHANGE))
    assert tree.lookup(inner, b"f") is other


def test_renaming_between_two_names_of_one_file_does_nothing(tree: Tree) -> None:
    node = file(tree, b"a")
    tree.link(node, tree.root, b"b")
    tree.rename(tree.root, b"a", tree.root, b"b")
    assert sorted(names(tree, tree.root)) == [b"a", b"b"]
    assert node.nlink == 2


def test_exchange_swaps_a_file_and_a_directory(tree: Tree) -> None:
    one, two = folder(tree, b"one"), folder(tree, b"two")
    plain, directory = file(tree, b"f", one), folder(tree, b"d", two)
    tree.rename(one, b"f", two, b"d", RENAME_EXCHANGE)
    assert tree.lookup(one, b"f") is directory
    assert tree.lookup(two, b"d") is plain
    assert (one.nlink, two.nlink) == (3, 2)
    assert directory.parent is one


def test_times_follow_what_is_done(tree: Tree) -> None:
    node = file(tree, b"a")
    made = node.mtime
    tree.write(node, 0, b"x")
    assert node.mtime == node.ctime > made
    tree.read(node, 0, 1)
    assert node.atime > made
    seen = node.atime
    tree.read(node, 0, 1)
    assert node.atime == seen
    before = tree.root.mtime
    tree.unlink(tree.root, b"a")
    assert tree.root.mtime > before


def test_attributes_change_what_they_name_and_the_change_time(tree: Tree) -> None:
    node = file(tree, b"a")
    tree.write(node, 0, b"0123456789")
    changed = node.ctime
    tree.set_attributes(node, Attributes(mode=stat.S_IFDIR | 0o4711, uid=5, gid=6, size=4, atime=-1, mtime=7))
    assert node.mode == stat.S_IFREG | 0o4711
    assert (node.uid, node.gid, node.size, node.atime, node.mtime) == (5, 6, 4, -1, 7)
    assert node.ctime > changed
    tree.set_attributes(node, Attributes(ctime=3))
    assert (node.ctime, node.uid) == (3, 5)


def test_only_regular_files_have_bytes(tree: Tree) -> None:
    fifo = tree.create(tree.root, b"fifo", stat.S_IFIFO | 0o600, ME)
    refused(errno.EINVAL, lambda: tree.truncate(fifo, 0))
    refused(errno.EISDIR, lambda: tree.write(tree.root, 0, b"x"))


def test_allocate_knows_the_modes_of_fallocate(tree: Tree) -> None:
    node = file(tree, b"a")
    tree.write(node, 0, b"x" * (3 * PAGE))
    tree.allocate(node, PAGE, PAGE, 3)
    assert tree.read(node, PAGE, PAGE) == bytes(PAGE)
    assert node.blocks == 16
    tree.allocate(node, 0, 10, 0x10 | 1)
    assert tree.read(node, 0, 12) == bytes(10) + b"xx"
    tree.allocate(node, 3 * PAGE, 1, 0)
    assert node.size == 3 * PAGE + 1
    refused(errno.EOPNOTSUPP, lambda: tree.allocate(node, 0, PAGE, 0x08))
    refused(errno.EOPNOTSUPP, lambda: tree.allocate(node, 0, PAGE, 0x02))
    refused(errno.EINVAL, lambda: tree.allocate(node, 0, 0, 0))
    refused(errno.ENOSPC, lambda: tree.allocate(node, 0, 17 * PAGE, 0))


def test_copy_range_copies_what_there_is(tree: Tree) -> None:
    source, target = file(tree, b"a"), file(tree, b"b")
    tree.write(source, 0, b"0123456789")
    assert tree.copy_range((source, 4), (target, 2), 100) == 6
    assert tree.read(target, 0, 100) == bytes(2) + b"456789"
    assert tree.copy_range((source, 10), (target, 0), 5) == 0
    assert target.size == 8
