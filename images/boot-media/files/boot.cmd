# U-Boot runs this from the SD card, or gets it as boot.scr.uimg by TFTP.
# It tells the server which model this is and runs the boot script of the image the node is given.
if test -z "${node_model}"; then
	if test -n "${fdtfile}"; then
		# broadcom/bcm2835-rpi-b-rev2.dtb -> rpi-b
		setenv node_model ${fdtfile}
		setexpr node_model sub "^[^-]*-" ""
		setexpr node_model sub "[.]dtb" ""
		setexpr node_model sub "-rev[0-9]" ""
	elif test "${board}" = "qemu-arm" -a "${cpu}" = "armv8"; then
		setenv node_model qemu-arm-64
	elif test "${board}" = "qemu-arm"; then
		setenv node_model qemu-arm-32
	fi
fi
setenv bootp_vci walt.node.${node_model}
echo "WalT: DHCP as ${bootp_vci}, then start.uboot"
if dhcp ${scriptaddr} start.uboot; then
	source ${scriptaddr}
	echo "WalT: start.uboot has failed"
else
	echo "WalT: no address, or no start.uboot for this board yet"
fi
sleep 2
reset
