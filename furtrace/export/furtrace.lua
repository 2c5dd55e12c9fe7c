-- Dissects furtrace's recordings: FUSE over io_uring, one event of the protocol a packet of link type USER0.
-- SPDX-License-Identifier: Apache-2.0
--
-- T, which stands before this, has the record's members, the protocol's structures and the names of numbers. What a
-- record is, furtrace-recording(5) says. Written for Lua 5.2 to 5.4 (Wireshark 3.6 and later), so without operators on
-- bits, and with no difference made between integers and floats that are whole.

local KIND, FLAG, STEP, OP, COMMAND, SIZES = T.kind, T.flag, T.step, T.op, T.command, T.sizes

local furtrace = Proto("furtrace", "FUSE over io_uring, recorded by furtrace")
furtrace.prefs.dialect = Pref.enum("Dialect of the kernel", 0,
    "How buffers are arranged, where packets alone leave that open", {
        { 1, "Found out from the packets", 0 },
        { 2, "plain (Linux 6.14 on)", 1 },
        { 3, "bufring (the proposal of April 2026)", 2 },
        { 4, "bufpool (Linux 7.3 on)", 3 },
    }, false)
local FOUND_OUT, PLAIN, BUFRING, BUFPOOL = 0, 1, 2, 3

-- ---- fields ----

local fields, masks, all = {}, {}, {}

local function field(make, name, ...)
    local full = "furtrace." .. name
    if not fields[full] then
        fields[full] = make(full, ...)
        all[#all + 1] = fields[full]
    end
    return fields[full]
end

-- A field for each bit of a set of flags. Where a set of another form has the name for another bit, the bit is named too.
local function bit_fields(name, bits, size)
    local made = {}
    for _, one in ipairs(bits) do
        local bit_name = name .. "." .. one.name
        if masks[bit_name] and masks[bit_name] ~= one.bit then
            bit_name = string.format("%s_%x", bit_name, one.bit)
        end
        masks[bit_name] = one.bit
        made[#made + 1] = field(ProtoField.bool, bit_name, one.text, 8 * size, nil, one.bit)
    end
    return made
end

local function number_field(member, name)
    local make = ProtoField[member.type]
    if member.type == "bytes" then
        return field(make, name, member.name)
    end
    return field(make, name, member.name, base[member.base or "DEC"], member.enum and T.enums[member.enum])
end

for _, structure in pairs(T.structures) do
    for _, member in ipairs(structure.members) do
        member.is_number = member.type ~= "bytes"
    end
end
-- In the order of names, so that a field that several forms have is always made by the same one.
local structure_names = {}
for name in pairs(T.structures) do
    structure_names[#structure_names + 1] = name
end
table.sort(structure_names)
for _, name in ipairs(structure_names) do
    for _, member in ipairs(T.structures[name].members) do
        member.made = number_field(member, member.field)
        if member.bits then
            member.bit_fields = bit_fields(member.field, T.bits[member.bits], member.size)
        end
    end
end

local NAMES = { kind = T.kinds, transport = T.transports, step = T.steps, opcode = T.opcodes }
local HEX = { entry = true, headers = true, payload = true, command = true, user_data = true, flags = true,
    request_flags = true }
local FIELD_NAMES = { opcode = "op" }
local members, by_name = {}, {} -- those of the record that are added just so
for _, member in ipairs(T.record) do
    by_name[member.name] = member
    if member.type ~= "bytes" then
        local name = FIELD_NAMES[member.name] or member.name
        member.made = field(ProtoField[member.type], name, member.name,
            base[HEX[member.name] and "HEX" or "DEC"], NAMES[member.name])
        member.is_number = true
        members[#members + 1] = member
    end
end
by_name.flags.bit_fields = bit_fields("flags", T.flags, 2)

local F = {
    comm = field(ProtoField.string, "comm", "comm"),
    header = field(ProtoField.bytes, "header", "header"),
    extra = field(ProtoField.bytes, "extra", "extra"),
    errno = field(ProtoField.string, "errno", "Errno"),
    command_name = field(ProtoField.string, "command_name", "Command"),
    name = field(ProtoField.string, "name", "Name"),
    second_name = field(ProtoField.string, "second_name", "Second name"),
    mount_point = field(ProtoField.string, "mount_point", "Mount point"),
    data = field(ProtoField.bytes, "data", "Payload"),
    data_offset = field(ProtoField.uint32, "data_offset", "Offset in the payload"),
    entry_index = field(ProtoField.uint32, "entry_index", "Number of the entry in its queue"),
    dialect = field(ProtoField.string, "dialect", "Dialect"),
    request_in = field(ProtoField.framenum, "request_in", "Request in frame", base.NONE, frametype.REQUEST),
    reply_in = field(ProtoField.framenum, "reply_in", "Reply in frame", base.NONE, frametype.RESPONSE),
    latency = field(ProtoField.relative_time, "latency", "Latency"),
    wait = field(ProtoField.relative_time, "latency.wait", "Until the server had it"),
    server = field(ProtoField.relative_time, "latency.server", "In the server"),
    commit = field(ProtoField.relative_time, "latency.commit", "From the server's commit to the end"),
}
furtrace.fields = all

local EXPERT = {
    reply = ProtoExpert.new("furtrace.expert.error_reply", "The reply is an error",
        expert.group.RESPONSE_CODE, expert.severity.NOTE),
    refused = ProtoExpert.new("furtrace.expert.refused", "The kernel refused a command",
        expert.group.RESPONSE_CODE, expert.severity.ERROR),
    stopped = ProtoExpert.new("furtrace.expert.stopped", "The kernel took an entry back",
        expert.group.SEQUENCE, expert.severity.WARN),
    lost = ProtoExpert.new("furtrace.expert.lost", "Events were lost",
        expert.group.SEQUENCE, expert.severity.WARN),
    overflow = ProtoExpert.new("furtrace.expert.cqe_overflow", "The completion queue overflowed",
        expert.group.PROTOCOL, expert.severity.ERROR),
}
furtrace.experts = EXPERT

-- ---- numbers and text ----

local function has(flags, flag)
    return flags % (2 * flag) >= flag
end

-- Numbers in a string of bytes: many times as fast as from ranges, each of which is an object.
local function u16(raw, at)
    local first, second = raw:byte(at + 1, at + 2)
    return first + 256 * second
end

local function u32(raw, at)
    local first, second, third, fourth = raw:byte(at + 1, at + 4)
    return first + 256 * (second + 256 * (third + 256 * fourth))
end

local function s32(raw, at)
    local value = u32(raw, at)
    return value >= 2147483648 and value - 4294967296 or value
end

-- 64 bits as decimal text.
local function u64(raw, at)
    local low, high = u32(raw, at), u32(raw, at + 4)
    if high < 2097152 then -- a double holds it
        return string.format("%d", high * 4294967296 + low)
    end
    return tostring(UInt64.new(low, high))
end

local function hex64(raw, at)
    local low, high = u32(raw, at), u32(raw, at + 4)
    return high > 0 and string.format("0x%x%08x", high, low) or string.format("0x%x", low)
end

local function member_at(name)
    return by_name[name].offset
end

local AT = {}
for name in pairs(by_name) do
    AT[name] = member_at(name)
end

local function errno(number)
    local name = T.errnos[number]
    return name or string.format("%d", number)
end

local function error_text(number)
    if number < 0 then
        return "-" .. errno(-number)
    end
    return string.format("%d", number)
end

local function flag_names(value, bits, without)
    local names, rest = {}, value
    for _, one in ipairs(bits) do
        if has(value, one.bit) then
            rest = rest - one.bit
            if one.name ~= without then
                names[#names + 1] = one.name:upper()
            end
        end
    end
    if rest > 0 then
        names[#names + 1] = string.format("0x%x", rest)
    end
    return table.concat(names, "|")
end

local ACCESS_MODES = { [0] = "O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE" }

-- Flags of open(2); O_LARGEFILE tells nothing, nor does the access mode of data that is read or written.
local function open_flags(value, of_data)
    local mode = value % 4
    local rest = flag_names(value - mode, T.bits.OpenFlag, "o_largefile")
    if of_data then
        return rest
    end
    return ACCESS_MODES[mode] .. (rest ~= "" and "|" .. rest or "")
end

local function before_nul(text)
    local at = text:find("\0", 1, true)
    return at and text:sub(1, at - 1) or text
end

-- Characters of UTF-8 that are no text: controls, spaces without width, what turns the direction, private use.
local HIDDEN = { { 0x80, 0x9f }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xe000, 0xf8ff },
    { 0xfeff, 0xfeff }, { 0xe0000, 0x10ffff } }
local LEADS = { { 0xc2, 0xdf, 1, 0x80 }, { 0xe0, 0xef, 2, 0x800 }, { 0xf0, 0xf4, 3, 0x10000 } }

-- The character of several bytes at a place, and how many they are; nil: they are no UTF-8.
local function character(text, at)
    local first = text:byte(at)
    for _, lead in ipairs(LEADS) do
        if first >= lead[1] and first <= lead[2] then
            local code = first % (lead[3] == 1 and 32 or lead[3] == 2 and 16 or 8)
            for offset = 1, lead[3] do
                local byte = text:byte(at + offset) or 0
                if byte < 0x80 or byte > 0xbf then
                    return nil
                end
                code = code * 64 + byte % 64
            end
            local is_one = code >= lead[4] and code <= 0x10ffff and (code < 0xd800 or code > 0xdfff)
            return is_one and code or nil, lead[3] + 1
        end
    end
    return nil
end

local function escaped(text, at)
    local code, size = character(text, at)
    if not code then
        return string.format("\\x%02x", text:byte(at)), 1
    end
    for _, range in ipairs(HIDDEN) do
        if code >= range[1] and code <= range[2] then
            return string.format(code > 0xffff and "\\U%08x" or "\\u%04x", code), size
        end
    end
    return text:sub(at, at + size - 1), size
end

-- What a traced process chose, so that it does nothing to a terminal: escaped as furtrace does it.
local SHORT = { ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" }
local function printable(text)
    text = text:gsub("[%c\\\127]", function(char)
        return SHORT[char] or string.format("\\x%02x", char:byte())
    end)
    local from = text:find("[\128-\255]")
    if not from then
        return text
    end
    local made, at = { text:sub(1, from - 1) }, from
    while at <= #text do
        local piece, size = text:sub(at, at), 1
        if piece:byte() >= 0x80 then
            piece, size = escaped(text, at)
        end
        made[#made + 1], at = piece, at + size
    end
    return table.concat(made)
end

local function text_range(buffer, raw, at, size)
    local text = before_nul(raw:sub(at + 1, at + size))
    return text, buffer(at, #text)
end

-- ---- what is remembered ----

-- requests: by interface and connection, by unique. of_frame: what a frame's request is. index_of_frame:
-- the number of its entry. They are filled the first time that packets are seen, in their order, and looked up later.
local requests, entries, of_frame, index_of_frame, dialects

local function forget()
    requests, entries, of_frame, index_of_frame, dialects = {}, {}, {}, {}, {}
end
furtrace.init = forget
forget()

local interface_id = Field.new("frame.interface_id")
local described, interface_description = pcall(Field.new, "frame.interface_description")

-- What names a connection: its number, and which of several recordings in a file it is of.
local function connection_of(raw)
    local found, number = interface_id(), u32(raw, AT.connection)
    local interface = found and found.value or 0
    return interface == 0 and number or string.format("%d.%d", interface, number)
end

local function sub(table_, key)
    local found = table_[key]
    if not found then
        found = {}
        table_[key] = found
    end
    return found
end

-- Nanoseconds from one time to another; both are pairs of 32 bits, since 64 are more than a number holds.
local function between(begin, finish)
    if not begin or not finish then
        return nil
    end
    return (finish[1] - begin[1]) * 4294967296 + (finish[2] - begin[2])
end

local ABOUT_REQUESTS = {} -- kinds that begin a request where QUEUED was not seen
for _, name in ipairs({ "QUEUED", "SELECTED", "PAGES_REGISTERED", "DELIVERED", "COMMITTED", "ENDED" }) do
    ABOUT_REQUESTS[KIND[name]] = true
end
local IN_ENTRY = { [KIND.SELECTED] = true, [KIND.PAGES_REGISTERED] = true, [KIND.DELIVERED] = true,
    [KIND.COMMITTED] = true }
local POOLS = { [KIND.ADD_QUEUE] = true, [KIND.ADD_BUFPOOL] = true, [KIND.SELECTED] = true, [KIND.RECYCLED] = true }

-- A new INIT: the number of a connection is used anew, and what was under way under it is gone.
local function begin_connection(connection)
    local kept = {}
    for unique, request in pairs(sub(requests, connection)) do
        if request.opcode == OP.INIT then
            kept[unique] = request
        end
    end
    requests[connection], entries[connection] = kept, nil
end

local DIALECTS = { plain = PLAIN, bufring = BUFRING, bufpool = BUFPOOL }

-- Who recorded has said it with the interface; a file that has lost that still has INIT, and what only pools have.
local function note_dialect(buffer, r)
    local known = dialects[r.connection]
    if known == BUFPOOL then
        return
    end
    local description = known == nil and described and interface_description()
    local told = description and DIALECTS[tostring(description.value):match("(%a+) dialect") or ""]
    if told then
        dialects[r.connection] = told
    elseif r.kind == KIND.INIT and r.extra_size >= SIZES.init then
        -- Kernels that have pools offer them.
        local offered = u32(r.raw, AT.extra + T.init_flags2)
        dialects[r.connection] = has(offered, T.init_bufpool) and BUFPOOL or PLAIN
    elseif POOLS[r.kind] or has(r.flags, FLAG.POOL) or has(r.flags, FLAG.HAS_BUFFER)
        or has(r.flags, FLAG.QUEUE_ZERO_COPY) then
        dialects[r.connection] = BUFPOOL
    end
end

-- The number of an entry within its queue: in the order in which entries were first seen with a request.
local function entry_index(r)
    local queue = sub(sub(entries, r.connection), r.queue)
    local index = queue[r.entry]
    if not index and r.unique ~= "0" and (IN_ENTRY[r.kind] or r.step == STEP.ADD_REQ_TO_RING_ENT) then
        index = queue.count or 0
        queue[r.entry], queue.count = index, index + 1
    end
    return index
end

local function note(buffer, r, frame)
    if r.kind == KIND.INIT then
        begin_connection(r.connection)
    end
    note_dialect(buffer, r)
    if r.entry ~= "0" then
        index_of_frame[frame] = entry_index(r)
    end
    if r.unique == "0" then
        return
    end
    local known = sub(requests, r.connection)
    local request = known[r.unique]
    if not request or (r.kind == KIND.QUEUED and request.ended) then
        if not ABOUT_REQUESTS[r.kind] then
            return
        end
        request = { opcode = r.opcode }
        known[r.unique] = request
    end
    of_frame[frame] = request
    local now = { u32(r.raw, AT.ns + 4), u32(r.raw, AT.ns) }
    if r.kind == KIND.QUEUED then
        request.queued, request.queued_at = frame, now
    elseif r.kind == KIND.DELIVERED then
        request.delivered, request.delivered_at = frame, now
        if T.unanswered[r.opcode] then
            request.ended = frame
        end
    elseif r.kind == KIND.COMMITTED then
        request.committed, request.committed_at = frame, now
    elseif r.kind == KIND.ENDED then
        request.ended = frame
        request.latency = between(request.queued_at, now)
        request.wait = between(request.queued_at, request.delivered_at)
        request.server = between(request.delivered_at, request.committed_at)
        request.commit = between(request.committed_at, now)
        request.queued_at, request.delivered_at, request.committed_at = nil, nil, nil
    end
end

local function dialect_of(connection)
    if furtrace.prefs.dialect ~= FOUND_OUT then
        return furtrace.prefs.dialect
    end
    return dialects[connection]
end

-- ---- structures ----

-- Add a member, and the bits of flags, where somebody looks at them: most often nobody does.
local function add_member(tree, buffer, at, member)
    local item = tree
    if tree:referenced(member.made) then
        local range = buffer(at + member.offset, member.size)
        item = member.is_number and tree:add_le(member.made, range) or tree:add(member.made, range)
    end
    for _, bit in ipairs(member.bit_fields or {}) do
        if tree:referenced(bit) then
            item:add_le(bit, buffer(at + member.offset, member.size))
        end
    end
end

-- Add a structure's members to a tree; those past `size` bytes are not there.
local function add_structure(tree, buffer, at, size, name)
    local structure = T.structures[name]
    local whole = math.min(size, structure.size)
    if whole <= 0 then
        return
    end
    local branch = tree
    if tree.visible then
        branch = tree:add(furtrace, buffer(at, whole), "struct fuse_" .. structure.title)
    end
    for _, member in ipairs(structure.members) do
        if member.offset + member.size <= size then
            add_member(branch, buffer, at, member)
        end
    end
end
for name, structure in pairs(T.structures) do
    structure.title = structure.members[1].field:match("^[^.]+")
end

-- The form of a structure that has just this size, else the newest.
local function form(names, size)
    for _, name in ipairs(names) do
        if T.structures[name].size == size then
            return name
        end
    end
    return names[1]
end

local ENTRY_OFFSET, ENTRY_SIZE = 256, 32
local ENT_IN_OUT = { [PLAIN] = "uring_ent_in_out", [BUFRING] = "uring_ent_in_out_bufring_32",
    [BUFPOOL] = "uring_ent_in_out_bufpool_32" }
local COMMON = 20 -- bytes of it that are the same in all dialects

local function add_entry(tree, buffer, r)
    if r.header_size < ENTRY_OFFSET + ENTRY_SIZE then
        return
    end
    local dialect = dialect_of(r.connection)
    local at = AT.header + ENTRY_OFFSET
    if dialect then
        add_structure(tree, buffer, at, ENTRY_SIZE, ENT_IN_OUT[dialect])
    else
        add_structure(tree, buffer, at, COMMON, ENT_IN_OUT[PLAIN])
    end
end

-- Bytes of the operation's structure in a header slot: what `len` counts beside the header and the payload.
local function operation_size(buffer, r)
    local there = math.max(0, math.min(r.header_size, ENTRY_OFFSET) - SIZES.operation)
    if r.header_size < ENTRY_OFFSET + ENTRY_SIZE then
        return there
    end
    local size = u32(r.raw, AT.header) - 40 - u32(r.raw, AT.header + ENTRY_OFFSET + 16)
    return size >= 0 and size <= there and size or there
end

local function add_request(tree, buffer, r)
    add_structure(tree, buffer, AT.header, r.header_size, "in_header")
    local names = T.requests[r.opcode]
    local size = operation_size(buffer, r)
    if names and size > 0 then
        add_structure(tree, buffer, AT.header + SIZES.operation, size, form(names, size))
    end
    add_entry(tree, buffer, r)
end

local ASKED = { [OP.RENAME] = true, [OP.RENAME2] = true, [OP.LINK] = true }

local function add_reply(tree, buffer, r)
    add_structure(tree, buffer, AT.header, r.header_size, "out_header")
    if ASKED[r.opcode] and r.kind ~= KIND.COMMITTED then
        add_structure(tree, buffer, AT.header + SIZES.argument, 16, T.requests[r.opcode][1])
    end
    local size = math.min(r.header_size, ENTRY_OFFSET) - SIZES.operation
    -- In a header slot stands what is left of the request there; the reply's own structure is payload.
    local names = (r.kind == KIND.COMMITTED and T.requests or T.replies)[r.opcode]
    if names and size > 0 then
        add_structure(tree, buffer, AT.header + SIZES.operation, size, form(names, size))
    end
    add_entry(tree, buffer, r)
end

local CMD_REQ = "uring_cmd_req"
local FORMS = { [COMMAND.REGISTER] = "uring_cmd_req_bufpool_26", [COMMAND.ADD_QUEUE] = "uring_cmd_req_add_queue",
    [COMMAND.ADD_BUFPOOL] = "uring_cmd_req_bufpool_40" }

local function command_form(r)
    local dialect = dialect_of(r.connection)
    if dialect == BUFRING then
        return "uring_cmd_req_bufring_28"
    end
    return dialect == BUFPOOL and FORMS[r.command_op] or CMD_REQ
end

-- ---- what lies in header and extra ----

local function add_names(tree, buffer, r)
    local first = r.second > 0 and math.min(r.second, r.extra_size) or r.extra_size
    local name, range = text_range(buffer, r.raw, AT.extra, first)
    tree:add(F.name, range, printable(name))
    r.name = name
    if r.second > 0 and r.extra_size > r.second then
        name, range = text_range(buffer, r.raw, AT.extra + r.second, r.extra_size - r.second)
        tree:add(F.second_name, range, printable(name))
        r.second_name = name
    end
end

local function add_data(tree, buffer, r)
    tree:add_le(F.data_offset, buffer(AT.length, 4))
    if r.header_size > 0 then
        tree:add(F.data, buffer(AT.header, r.header_size))
    end
end

local function add_mount_point(tree, buffer, r)
    local name, range = text_range(buffer, r.raw, AT.header, r.header_size)
    r.name = name
    tree:add(F.mount_point, range, printable(name))
end

local function add_init(tree, buffer, r)
    add_structure(tree, buffer, AT.extra, math.min(r.extra_size, SIZES.init), "init_in")
    local size = r.extra_size - SIZES.init
    add_structure(tree, buffer, AT.extra + SIZES.init, size, "init_out")
end

local function add_command(tree, buffer, r)
    add_structure(tree, buffer, AT.extra, r.extra_size, command_form(r))
end

local function add_named_request(tree, buffer, r)
    add_request(tree, buffer, r)
    if r.extra_size > 0 then
        add_names(tree, buffer, r)
    end
end

local function add_named_reply(tree, buffer, r)
    add_reply(tree, buffer, r)
    if r.extra_size > 0 then
        add_names(tree, buffer, r)
    end
end

local function add_committed(tree, buffer, r)
    add_reply(tree, buffer, r)
    add_command(tree, buffer, r)
end

local CONTENTS = {
    [KIND.INIT] = add_init,
    [KIND.ADD_QUEUE] = add_command,
    [KIND.ADD_BUFPOOL] = add_command,
    [KIND.REGISTER] = add_command,
    [KIND.QUEUED] = add_named_request,
    [KIND.DELIVERED] = add_request,
    [KIND.COMMITTED] = add_committed,
    [KIND.ENDED] = add_named_reply,
    [KIND.NAMED] = add_named_reply,
    [KIND.ENTRIES] = add_data,
    [KIND.MOUNTED] = add_mount_point,
    [KIND.REQUEST_PAYLOAD] = add_data,
    [KIND.REPLY_PAYLOAD] = add_data,
}

-- ---- the Info column: events as furtrace tells them ----

local function place(r)
    if r.transport == 2 then
        return string.format("%d:dev", r.connection_number)
    end
    local queue = r.queue == SIZES.no_queue and "?" or string.format("%d", r.queue)
    return string.format("%d:%s", r.connection_number, queue) .. (r.index and string.format(".%d", r.index) or "")
end

-- The path as far as the record itself names it: nodes by number, as furtrace does with those that it can't name.
local function subject(r)
    local request = r.request
    if r.kind ~= KIND.QUEUED and request and request.subject then
        return request.subject
    end
    local text = ""
    if r.node_id ~= "0" then
        text = r.node_id == "1" and "/" or "#" .. r.node_id
    end
    local roles = T.roles[r.opcode]
    if r.name and roles and (roles[1] == "name" or roles[1] == "oldname" or roles[1] == "newname") then
        text = (text == "/" and "" or text) .. "/" .. printable(r.name)
    end
    if request and r.kind == KIND.QUEUED then
        request.subject = text
    end
    return text
end

local function operation_name(opcode)
    return opcode == 0 and "?" or T.opcodes[opcode] or string.format("OP_%d", opcode)
end

local function about(r)
    local text = "unique=" .. r.unique .. " " .. operation_name(r.opcode)
    local path = subject(r)
    return path ~= "" and text .. " " .. path or text
end

local function argument(label, member, say)
    return { label = label, member = member, say = say }
end

local function octal(value)
    return string.format("0%o", value)
end

local function data_flags(value)
    return open_flags(value, true)
end

local DATA = { argument("off", "offset"), argument("len", "size"), argument("flags", "flags", data_flags) }
local ENTRIES_OF = { DATA[1], DATA[2] }
local OPENED = { argument("flags", "flags", open_flags) }
local CREATED = { OPENED[1], argument("mode", "mode", octal) }
local HANDLE = { argument("fh", "fh") }
local RELEASED = { HANDLE[1], OPENED[1] }
local RANGE = { argument("off_in", "off_in"), argument("off_out", "off_out"), argument("len", "len") }
local LOCKED = { argument("start", "lk.start"), argument("end", "lk.end"), argument("pid", "lk.pid") }
local SIZED = { argument("size", "size") }
local ARGUMENTS = {
    [OP.READ] = DATA, [OP.WRITE] = DATA, [OP.READDIR] = ENTRIES_OF, [OP.READDIRPLUS] = ENTRIES_OF,
    [OP.OPEN] = OPENED, [OP.OPENDIR] = OPENED, [OP.CREATE] = CREATED, [OP.TMPFILE] = CREATED,
    [OP.MKDIR] = { CREATED[2] }, [OP.MKNOD] = { CREATED[2] },
    [OP.RELEASE] = RELEASED, [OP.RELEASEDIR] = HANDLE, [OP.FLUSH] = HANDLE,
    [OP.COPY_FILE_RANGE] = RANGE, [OP.COPY_FILE_RANGE_64] = RANGE,
    [OP.GETLK] = LOCKED, [OP.SETLK] = LOCKED, [OP.SETLKW] = LOCKED,
    [OP.GETXATTR] = SIZED, [OP.LISTXATTR] = SIZED, [OP.SETXATTR] = SIZED,
    [OP.FALLOCATE] = { argument("off", "offset"), argument("len", "length") },
    [OP.LSEEK] = { argument("off", "offset") },
    [OP.INTERRUPT] = { argument("unique", "unique") },
    [OP.IOCTL] = { argument("cmd", "cmd", function(value) return string.format("0x%x", value) end) },
}

-- Where each argument is, found once.
for opcode, shown in pairs(ARGUMENTS) do
    local found = {}
    for _, one in ipairs(shown) do
        for _, member in ipairs(T.structures[T.requests[opcode][1]].members) do
            if member.name == one.member then
                found[#found + 1] = { label = one.label, say = one.say, offset = member.offset, size = member.size }
            end
        end
    end
    ARGUMENTS[opcode] = found
end

local function arguments(buffer, r)
    local words = {}
    for _, one in ipairs(ARGUMENTS[r.opcode] or {}) do
        local at = SIZES.operation + one.offset
        if at + one.size <= r.header_size then
            local text
            if one.size == 8 then
                text = u64(r.raw, AT.header + at)
            else
                local value = u32(r.raw, AT.header + at)
                text = one.say and one.say(value) or string.format("%d", value)
            end
            if text ~= "" then
                words[#words + 1] = " " .. one.label .. "=" .. text
            end
        end
    end
    return table.concat(words)
end

local NAMED_BESIDES = { [OP.SETXATTR] = true, [OP.GETXATTR] = true, [OP.REMOVEXATTR] = true, [OP.SYMLINK] = true }

local function queued_words(buffer, r)
    local name = ""
    if r.name and NAMED_BESIDES[r.opcode] then
        name = ' "' .. printable(r.second_name or r.name):gsub('"', '\\"') .. '"'
    elseif r.second_name then
        name = " to=" .. printable(r.second_name)
    end
    return about(r) .. name .. arguments(buffer, r)
end

local function place_words(buffer, r)
    local words = ""
    if has(r.flags, FLAG.HAS_BUFFER) then
        words = string.format(" buffer=%d offset=%d", u32(r.raw, AT.buffer_id), u32(r.raw, AT.pool_offset))
    end
    if has(r.flags, FLAG.HAS_SLOT) then
        words = words .. string.format(" slot=%d", u16(r.raw, AT.slot))
    end
    return words
end

local function message_words(buffer, r)
    if r.transport ~= 1 then
        return about(r)
    end
    local words = " commit_id=" .. u64(r.raw, AT.commit_id)
    if r.header_size > 0 then
        words = words .. string.format(" payload_sz=%d", u32(r.raw, AT.header + ENTRY_OFFSET + 16))
    end
    return about(r) .. words .. place_words(buffer, r)
end

local function error_words(r)
    return has(r.flags, FLAG.HAS_ERROR) and " error=" .. error_text(r.error) or ""
end

local WHY = {
    [KIND.SELECTED] = { ENOBUFS = " (the pool is dry, it waits)" },
    [KIND.PAGES_REGISTERED] = { EBUSY = " (the slot is taken)", EINVAL = " (there is no such slot)" },
}
local ALWAYS_TOLD = { [KIND.STEP] = true, [KIND.COPIED] = true, [KIND.RETURNED] = true }

local function result(r)
    if not has(r.flags, FLAG.HAS_ERROR) or (r.error == 0 and not ALWAYS_TOLD[r.kind]) then
        return ""
    end
    local name = r.error < 0 and errno(-r.error)
    if name == "EIOCBQUEUED" then -- what a command returns that goes on: no error
        return " = EIOCBQUEUED"
    end
    return " = " .. error_text(r.error) .. (WHY[r.kind] and WHY[r.kind][name] or "")
end

local function command_name(op)
    return T.commands[op] or string.format("CMD_%d", op)
end

local function ring_about(r)
    return r.unique ~= "0" and about(r) or ""
end

local function trimmed(text)
    return (text:gsub("^ ", ""))
end

local function buffer_words(buffer, r)
    local words = place_words(buffer, r)
    local buffers = u32(r.raw, AT.buffers)
    if buffers > 0 and r.error == 0 then
        local free = u32(r.raw, AT.buffers_free)
        words = words .. string.format(" free=%s/%d",
            free == SIZES.not_counted and "?" or string.format("%d", free), buffers)
    end
    return ring_about(r) .. words .. result(r)
end

local function registered_words(buffer, r)
    local words = place_words(buffer, r)
        .. string.format(" segments=%d bytes=%d", u32(r.raw, AT.segments), u32(r.raw, AT.length))
    local reading, writing = has(r.flags, FLAG.PAGES_READABLE), has(r.flags, FLAG.PAGES_WRITABLE)
    if reading or writing then
        words = words .. " for " .. (reading and "reading" or "")
            .. (reading and writing and " and " or "") .. (writing and "writing" or "")
    end
    return ring_about(r) .. words .. result(r)
end

local function fixed_words(buffer, r)
    local name = T.fixed[r.command_op] or string.format("OP_%d", r.command_op)
    local words = string.format(" %s slot=%d", name, u16(r.raw, AT.slot))
    local asked, moved = u32(r.raw, AT.payload_size), u32(r.raw, AT.length)
    if asked > 0 then
        words = words .. string.format(" offset=%d", u32(r.raw, AT.pool_offset))
    end
    if r.error == 0 then
        words = words .. string.format(" %d", moved)
            .. ((asked ~= 0 and asked ~= moved) and string.format(" of %d", asked) or "") .. " bytes"
    end
    return ring_about(r) .. words .. result(r)
end

local function step_words(_, r)
    local known = T.steps[r.step]
    local words = known and known .. "()" or string.format("step %d", r.step)
    if r.step == STEP.COPY_HEADER_TO_RING then
        words = words .. " " .. (T.parts[r.command_op] or string.format("PART_%d", r.command_op))
    elseif r.command_op ~= 0 then
        words = words .. " " .. command_name(r.command_op)
    end
    local request = ring_about(r)
    return words .. (request ~= "" and " " .. request or "") .. result(r)
end

local function other_ring_words(buffer, r)
    return ring_about(r) .. place_words(buffer, r) .. result(r)
end

local function init_words(buffer, r)
    if r.extra_size < 16 then
        return ""
    end
    local at = AT.extra
    local words = string.format("kernel %d.%d", u32(r.raw, at), u32(r.raw, at + 4))
    if r.error ~= 0 then
        return words .. " = -" .. errno(math.abs(r.error))
    end
    if r.extra_size < 2 * SIZES.init then
        return words
    end
    at = at + SIZES.init
    local low, high = u32(r.raw, at + 12), u32(r.raw, at + T.init_out_flags2)
    local names = flag_names(low, T.bits.InitFlag)
    if high > 0 and has(low, T.init_ext) then
        names = names .. "|" .. flag_names(high, T.bits.InitFlag2)
    end
    return words .. string.format(", server %d.%d max_write=%d max_background=%d max_pages=%d flags=%s",
        u32(r.raw, at), u32(r.raw, at + 4), u32(r.raw, at + 20), u16(r.raw, at + 16), u16(r.raw, at + 28),
        names ~= "" and names or "0")
end

local function command_words(buffer, r)
    if r.extra_size < 24 then
        return ""
    end
    local at, made = AT.extra, command_form(r)
    local flags = u32(r.raw, at)
    local bits = T.structures[made].members[1].bits
    local names = flag_names(flags, bits and T.bits[bits] or {})
    local words = string.format("qid=%d flags=%s", u16(r.raw, at + 16), names ~= "" and names or "0")
    if made == FORMS[COMMAND.ADD_BUFPOOL] then
        words = words .. " uaddr=" .. hex64(r.raw, at + 24) .. string.format(" len=%d", u32(r.raw, at + 32))
    elseif made == FORMS[COMMAND.REGISTER] and u16(r.raw, at + 24) > 0 then
        words = words .. string.format(" ent_zero_copy_buf_index=%d", u16(r.raw, at + 24))
    elseif dialect_of(r.connection) == BUFRING then
        words = words .. string.format(" buf_size=%d queue_depth=%d", u32(r.raw, at + 20), u16(r.raw, at + 24))
    end
    if r.kind == KIND.REGISTER and u64(r.raw, AT.headers) ~= "0" then
        words = words .. " headers=" .. hex64(r.raw, AT.headers) .. " payload=" .. hex64(r.raw, AT.payload)
            .. string.format("+%d", u32(r.raw, AT.payload_size))
    end
    return words
end

local function refusal_words(buffer, r)
    local commit = u64(r.raw, AT.commit_id)
    return command_name(r.command_op) .. (commit ~= "0" and " commit_id=" .. commit or "")
        .. " = " .. error_text(r.error)
end

local function lost_words(buffer, r)
    local count, cpu = u32(r.raw, AT.length), u16(r.raw, AT.cpu)
    return string.format("%d event%s, ", count, count == 1 and "" or "s")
        .. (cpu == SIZES.no_cpu and "as the kernel ran no probe" or string.format("on CPU %d", cpu))
end

local function payload_words(buffer, r)
    return about(r) .. string.format(" offset=%d size=%d of %d", u32(r.raw, AT.length), r.header_size,
        u32(r.raw, AT.payload_size))
end

local WORDS = {
    [KIND.INIT] = init_words,
    [KIND.ADD_QUEUE] = command_words,
    [KIND.ADD_BUFPOOL] = command_words,
    [KIND.REGISTER] = command_words,
    [KIND.READY] = function() return "io_uring is in use from now on" end,
    [KIND.QUEUED] = queued_words,
    [KIND.DELIVERED] = message_words,
    [KIND.COMMITTED] = function(buffer, r) return message_words(buffer, r) .. error_words(r) end,
    [KIND.ENDED] = function(_, r) return about(r) .. error_words(r) end,
    [KIND.NAMED] = function(_, r) return about(r) .. error_words(r) end,
    [KIND.SELECTED] = buffer_words,
    [KIND.RECYCLED] = buffer_words,
    [KIND.PAGES_REGISTERED] = registered_words,
    [KIND.FIXED_IO] = fixed_words,
    [KIND.STEP] = step_words,
    [KIND.REFUSED] = refusal_words,
    [KIND.STOPPED] = refusal_words,
    [KIND.LOST] = lost_words,
    [KIND.MOUNTED] = function(_, r) return string.format("%d at ", r.connection_number) .. printable(r.name or "") end,
    [KIND.ENTRIES] = payload_words,
    [KIND.REQUEST_PAYLOAD] = payload_words,
    [KIND.REPLY_PAYLOAD] = payload_words,
}
local PLACELESS = { [KIND.LOST] = true, [KIND.MOUNTED] = true }

local function info(buffer, r)
    local kind = T.kinds[r.kind]
    if not kind then
        return string.format("event of kind %d, which a later furtrace knows", r.kind)
    end
    local words = trimmed((WORDS[r.kind] or other_ring_words)(buffer, r))
    local text = kind .. (words ~= "" and " " .. words or "")
    if PLACELESS[r.kind] then
        return text
    end
    text = place(r) .. " " .. text .. string.format(" %s[%d]", r.comm ~= "" and printable(r.comm) or "?", r.tid)
    return has(r.flags, FLAG.CQE_OVERFLOW) and text .. " (the completion queue overflowed)" or text
end

-- ---- the record ----

local function duration(tree, made, ns)
    if ns then
        local seconds = math.floor(ns / 1000000000)
        tree:add(made, NSTime.new(seconds, ns - seconds * 1000000000)):set_generated()
    end
end

local function add_links(tree, r, frame)
    local request = r.request
    if not request then
        return
    end
    local asked, answered
    if r.kind == KIND.QUEUED then
        answered = request.ended or request.committed
    elseif r.kind == KIND.DELIVERED then
        asked, answered = nil, request.committed or request.ended
    elseif r.kind == KIND.COMMITTED then
        asked = request.delivered or request.queued
    else
        asked = request.queued or request.delivered
    end
    if answered and answered > frame then
        tree:add(F.reply_in, answered):set_generated()
    end
    if asked and asked < frame then
        tree:add(F.request_in, asked):set_generated()
    end
    if request.ended == frame then
        duration(tree, F.latency, request.latency)
        duration(tree, F.wait, request.wait)
        duration(tree, F.server, request.server)
        duration(tree, F.commit, request.commit)
    end
end

local function add_experts(tree, r)
    if has(r.flags, FLAG.CQE_OVERFLOW) then
        tree:add_proto_expert_info(EXPERT.overflow)
    end
    if r.kind == KIND.ENDED and r.error < 0 then
        tree:add_proto_expert_info(EXPERT.reply, operation_name(r.opcode) .. ": " .. error_text(r.error))
    elseif r.kind == KIND.REFUSED then
        tree:add_proto_expert_info(EXPERT.refused,
            "The kernel refused " .. command_name(r.command_op) .. ": " .. error_text(r.error))
    elseif r.kind == KIND.STOPPED then
        tree:add_proto_expert_info(EXPERT.stopped)
    elseif r.kind == KIND.LOST then
        tree:add_proto_expert_info(EXPERT.lost)
    end
end

local OPCODE_KINDS = { [KIND.FIXED_IO] = "fixed", [KIND.STEP] = "step" }

local function add_members(tree, buffer, r)
    for _, member in ipairs(members) do
        add_member(tree, buffer, 0, member)
    end
    tree:add(F.comm, buffer(AT.comm, 16), printable(r.comm))
    if r.error < 0 then
        tree:add(F.errno, buffer(AT.error, 4), errno(-r.error)):set_generated()
    end
    if r.command_op ~= 0 and not OPCODE_KINDS[r.kind] then
        tree:add(F.command_name, buffer(AT.command_op, 4), command_name(r.command_op)):set_generated()
    end
end

local function add_contents(tree, buffer, r)
    if r.header_size > 0 and tree:referenced(F.header) then
        tree:add(F.header, buffer(AT.header, math.min(r.header_size, SIZES.header)))
    end
    if r.extra_size > 0 and tree:referenced(F.extra) then
        tree:add(F.extra, buffer(AT.extra, r.extra_size))
    end
    local add = CONTENTS[r.kind]
    if add then
        add(tree, buffer, r)
    end
end

local function read(raw)
    return {
        raw = raw,
        unique = u64(raw, AT.unique),
        node_id = u64(raw, AT.node_id),
        entry = u64(raw, AT.entry),
        connection = connection_of(raw),
        connection_number = u32(raw, AT.connection),
        opcode = u32(raw, AT.opcode),
        error = s32(raw, AT.error),
        queue = u32(raw, AT.queue),
        tid = u32(raw, AT.tid),
        command_op = u32(raw, AT.command_op),
        kind = raw:byte(AT.kind + 1),
        transport = raw:byte(AT.transport + 1),
        flags = u16(raw, AT.flags),
        header_size = u16(raw, AT.header_size),
        extra_size = u16(raw, AT.extra_size),
        step = u16(raw, AT.step),
        second = raw:byte(AT.second + 1),
        comm = before_nul(raw:sub(AT.comm + 1, AT.comm + 16)),
    }
end

local function is_record(raw)
    return raw:byte(AT.kind + 1) > 0
        and u16(raw, AT.header_size) <= SIZES.part and u16(raw, AT.extra_size) <= SIZES.extra
end

local others -- what dissected packets of this link type before

function furtrace.dissector(buffer, pinfo, root)
    local raw = buffer:captured_len() >= SIZES.record and buffer:raw(0, SIZES.record)
    if not raw or not is_record(raw) then
        return others and others:call(buffer, pinfo, root) or 0
    end
    local r = read(raw)
    if not pinfo.visited then
        note(buffer, r, pinfo.number)
    end
    r.request, r.index = of_frame[pinfo.number], index_of_frame[pinfo.number]
    local tree = root:add(furtrace, buffer(0, buffer:captured_len()))
    add_members(tree, buffer, r)
    if r.index then
        tree:add(F.entry_index, r.index):set_generated()
    end
    add_contents(tree, buffer, r)
    add_links(tree, r, pinfo.number)
    add_experts(tree, r)
    pinfo.cols.protocol = "FUSE"
    local text = info(buffer, r)
    pinfo.cols.info = text
    tree:append_text(", " .. text)
    return buffer:captured_len()
end

local link_types = DissectorTable.get("wtap_encap")
local USER0 = (wtap_encaps or wtap).USER0
others = link_types:get_dissector(USER0)
link_types:add(USER0, furtrace)
