// SPDX-License-Identifier: GPL-2.0
/*
 * A BPF iterator over the open files of all tasks: the names of those that lie on a FUSE mount, and of the directories
 * on their way, as the kernel's dentries have them. It asks the server for nothing.
 */

#define FT_FUSE_MAGIC 0x65735546        /* FUSE_SUPER_MAGIC, include/uapi/linux/magic.h */
#define FT_MOST_LEVELS 64
#define FT_NAME_SIZE 192

/* A name, as it leads from a directory to an inode. */
struct ft_known {
	u64 node_id, directory, generation;
	u32 connection, mode, links, name_size;
	char name[FT_NAME_SIZE];
};

#define FT_FROM(value, base, offset) bpf_probe_read_kernel(&(value), sizeof(value), (char *)(base) + (offset))

/* The inode's number in the protocol; struct inode is the first member of struct fuse_inode. */
static inline u64 ft_node_id(char *inode) {
	u64 node_id = 0;
	FT_FROM(node_id, inode, OFFSET_fuse_inode_nodeid);
	return node_id;
}

static inline u32 ft_mounted_connection(char *super) {
	struct fuse_mount *mount = 0;
	struct fuse_conn *conn = 0;
	u64 magic = 0;
	FT_FROM(magic, super, OFFSET_super_block_s_magic);
	if (magic != FT_FUSE_MAGIC)
		return 0;
	FT_FROM(mount, super, OFFSET_super_block_s_fs_info);
	if (mount)
		READ(conn, mount->fc);
	return ft_conn_number(conn);
}

int ft_names_known(struct bpf_iter__task_file *ctx) {
	struct seq_file *seq = ctx->meta->seq;
	char *file = (void *)ctx->file, *dentry = 0, *super = 0;
	struct ft_known known = {};

	if (!file)
		return 0;
	FT_FROM(dentry, file, OFFSET_file_f_path + sizeof(void *));   /* struct path: mnt, then dentry */
	if (!dentry)
		return 0;
	FT_FROM(super, dentry, OFFSET_dentry_d_sb);
	if (!super)
		return 0;
	known.connection = ft_mounted_connection(super);
	if (!known.connection)
		return 0;
	#pragma clang loop unroll(disable)
	for (int i = 0; i < FT_MOST_LEVELS; i++) {
		char *parent = 0, *inode = 0, *above = 0, *name = 0;
		FT_FROM(parent, dentry, OFFSET_dentry_d_parent);
		FT_FROM(inode, dentry, OFFSET_dentry_d_inode);
		if (!parent || parent == dentry || !inode)
			return 0;
		FT_FROM(above, parent, OFFSET_dentry_d_inode);
		FT_FROM(name, dentry, OFFSET_dentry_d_name + sizeof(u64));   /* struct qstr: hash and length, then the name */
		if (!above || !name)
			return 0;
		u32 generation = 0;
		u16 mode = 0;
		known.node_id = ft_node_id(inode);
		known.directory = ft_node_id(above);
		FT_FROM(generation, inode, OFFSET_inode_i_generation);
		FT_FROM(mode, inode, OFFSET_inode_i_mode);
		FT_FROM(known.links, inode, OFFSET_inode_i_nlink);
		known.generation = generation;
		known.mode = mode;
		long size = bpf_probe_read_kernel_str(known.name, sizeof(known.name), name);
		if (size <= 1)
			return 0;
		known.name_size = size;
		bpf_seq_write(seq, &known, sizeof(known));
		dentry = parent;
	}
	return 0;
}
